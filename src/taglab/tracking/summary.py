"""A table of runs for the terminal: what ran, how it ended, how long it took, its main metrics."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from taglab.tracking.trials import Ranking, rank

PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # MLflow's names for how a run ended
ASYNCHRONOUS = "asynchronous"  # a tag; "true" where trials depend on how fast others were
WIDTH = 100  # of a line, where possible
NAME_WIDTH = 34
NESTED_SHOWN, TRIALS_SHOWN = 20, 5


@dataclass(frozen=True)
class _Row:
    """One line of the table; a line without a status is a note on the run above it."""

    name: str
    origin: tuple[str, ...] = ()  # tag, build and age
    status: str = ""
    time: str = ""
    metrics: list[str] = field(default_factory=list)
    mark: str = ""


def find_runs(client: MlflowClient, experiment: str, condition: str = "") -> list[Run]:
    """Return the runs of an experiment that match MLflow's search filter, oldest first."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([found.experiment_id], condition, max_results=1000,
                                  order_by=["attributes.start_time ASC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def of_build(build: str) -> str:
    """Return MLflow's search filter for the runs of a build."""
    return f"tags.build = '{build}'"


def nested_in(run: Run) -> str:
    """Return MLflow's search filter for the runs that are nested in a run."""
    return f"tags.`{PARENT}` = '{run.info.run_id}'"


def tree(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return runs for JSON, each with those nested in it under `runs`; times in seconds.

    JSON knows no NaN and no infinity: a metric with such a value is the word for it.
    """
    nodes = {run.info.run_id: _node(run) for run in runs}
    top: list[dict[str, Any]] = []
    for node in nodes.values():
        parent = nodes.get(node["tags"].get(PARENT))
        (parent["runs"] if parent else top).append(node)
    return top


def _node(run: Run) -> dict[str, Any]:
    metrics = {name: value if math.isfinite(value) else str(value)
               for name, value in run.data.metrics.items()}
    return {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status,
            "started": run.info.start_time / 1000, "finished": (run.info.end_time or 0) / 1000,
            "params": run.data.params, "metrics": metrics, "tags": run.data.tags, "runs": []}


def table(runs: Iterable[Run], with_origin: bool = False) -> str:
    """Return a table with one line for each run, nested runs below their parent.

    with_origin: show the tag, the build and the age of each run that is not nested.
    """
    runs = list(runs)
    known = {run.info.run_id for run in runs}
    children: dict[str | None, list[Run]] = {}
    for run in runs:
        parent = run.data.tags.get(PARENT)
        children.setdefault(parent if parent in known else None, []).append(run)
    head = _Row("run", ("tag", "build", "age"), "status", "time", ["metrics"])
    return "\n".join(_lines([head, *_rows(children, None, 0)], with_origin))


def _lines(rows: list[_Row], with_origin: bool) -> Iterator[str]:
    """Yield the lines of a table. The name of a nested run may reach into the columns of origin."""
    top = [(row.name, *row.origin) if with_origin else (row.name,) for row in rows if row.origin]
    widths = [max(map(len, column)) for column in zip(*top)]
    names = ["  ".join(map(str.ljust, (row.name, *row.origin), widths)).rstrip() for row in rows]
    shown = [(name, row) for name, row in zip(names, rows) if row.status]
    first = max(len(name) for name, _ in shown)
    second, third = (max(map(len, column)) for column in zip(
        *((row.status, row.time) for _, row in shown)))
    for name, row in zip(names, rows):
        line = f"{name:<{first}}  {row.status:<{second}}  {row.time:>{third}}".rstrip()
        if row.metrics:
            main, *more = ("  ".join(filter(None, [*row.metrics[:count], row.mark]))
                           for count in range(1, len(row.metrics) + 1))
            fitting = [text for text in more if len(f"{line}  {text}") <= WIDTH]
            line += f"  {(fitting or [main])[-1]}"
        yield line


def _rows(
    children: Mapping[str | None, list[Run]], parent: Run | None, depth: int
) -> Iterator[_Row]:
    """Yield the rows of the runs below `parent`."""
    ranking = rank(parent, children.get(parent.info.run_id if parent else None, []))
    limit = TRIALS_SHOWN if ranking.metrics else NESTED_SHOWN if depth else len(ranking.runs)
    for run in ranking.runs[:limit]:
        yield _row(run, ranking, depth)
        if run.data.tags.get(ASYNCHRONOUS) == "true":
            yield _Row("  " * (depth + 1) + "asynchronous: its numbers may differ when it is run "
                       "again")
        yield from _rows(children, run, depth + 1)
    if more := ranking.runs[limit:]:
        counts = Counter(run.info.status for run in more)
        statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
        yield _Row("  " * depth + f"… {len(more)} more: {statuses}")


def _row(run: Run, ranking: Ranking, depth: int) -> _Row:
    """Return the row of one run."""
    tags = run.data.tags
    name = "  " * depth + (run.info.run_name or run.info.run_id)
    if len(name) > NAME_WIDTH:
        name = name[:NAME_WIDTH - 1] + "…"
    origin = () if depth else (tags.get("tag", ""), tags.get("build", ""), age(run))
    wanted = [each for each in ranking.metrics if each in run.data.metrics]
    mark = "" if run.info.run_id not in ranking.best else (
        "best" if len(ranking.metrics) == 1 else "Pareto front")
    names = wanted or main_metrics(run.data.metrics, nested=depth > 0)
    return _Row(name, origin, run.info.status, _duration(run),
                [f"{each} {run.data.metrics[each]:.4g}" for each in names], mark)


def age(run: Run) -> str:
    """Return how long ago a run started: as 12 s, 34 min, 5 h or 6 d."""
    seconds = max(0, time.time() - run.info.start_time / 1000)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _duration(run: Run) -> str:
    """Return how long a run took, or has taken so far: as 12.3 s, 4:56 or 1:02:03."""
    end = run.info.end_time or time.time() * 1000
    seconds = (end - run.info.start_time) / 1000
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def main_metrics(metrics: Iterable[str], nested: bool = False) -> list[str]:
    """Return the names of two main metrics: on test data, or on validation data if nested."""
    first, second = ("val", "test_") if nested else ("test_", "val")
    names = sorted(metrics, key=lambda name: (
        not name.startswith(first), not name.startswith(second), "loss" in name, name))
    return ([name for name in names if name.startswith(first)] or names)[:2]
