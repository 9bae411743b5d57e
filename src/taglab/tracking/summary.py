"""A table of runs for the terminal: what ran, how it ended, how long it took, its main metrics."""

import time
from collections.abc import Iterable, Mapping

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # MLflow's names for how a run ended
NAME_WIDTH = 34
NESTED_SHOWN = 20


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


def table(runs: Iterable[Run]) -> str:
    """Return a table with one line for each run, nested runs below their parent."""
    runs = list(runs)
    known = {run.info.run_id for run in runs}
    children: dict[str | None, list[Run]] = {}
    for run in runs:
        parent = run.data.tags.get(PARENT)
        children.setdefault(parent if parent in known else None, []).append(run)
    rows = [("run", "status", "time", "metrics"), *_rows(children, None, 0)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {status:<{widths[1]}}  {duration:>{widths[2]}}  {metrics}".rstrip()
        for name, status, duration, metrics in rows)


def _rows(
    children: Mapping[str | None, list[Run]], parent: str | None, depth: int
) -> Iterable[tuple[str, str, str, str]]:
    """Yield the rows of the runs below `parent`."""
    below = children.get(parent, [])
    shown = below[:NESTED_SHOWN] if depth else below
    for run in shown:
        name = "  " * depth + (run.info.run_name or run.info.run_id)
        if len(name) > NAME_WIDTH:
            name = name[:NAME_WIDTH - 1] + "…"
        yield name, run.info.status, _duration(run), _metrics(run.data.metrics, nested=depth > 0)
        yield from _rows(children, run.info.run_id, depth + 1)
    if len(below) > len(shown):
        yield "  " * depth + f"… {len(below) - len(shown)} more", "", "", ""


def _duration(run: Run) -> str:
    """Return how long a run took, or has taken so far: as 12.3 s, 4:56 or 1:02:03."""
    end = run.info.end_time or time.time() * 1000
    seconds = (end - run.info.start_time) / 1000
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _metrics(metrics: dict[str, float], nested: bool) -> str:
    """Return the two main metrics of a run: on test data, or on validation data if nested."""
    first, second = ("val", "test_") if nested else ("test_", "val")
    names = sorted(metrics, key=lambda name: (
        not name.startswith(first), not name.startswith(second), "loss" in name, name))
    best = [name for name in names if name.startswith(first)] or names
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in best[:2])
