"""The runs that are nested in one: of a search the best, of others the first."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow.entities import Run

from taglab.report import words
from taglab.report.document import BAD, GOOD, Block, Cell, Note, Title
from taglab.results import RunResult
from taglab.tracking.summary import ASYNCHRONOUS, FINISHED, main_metrics
from taglab.tracking.trials import rank

SHOWN = 10  # nested runs
COLUMNS = 6  # parameters
METRICS = 3


def nested_blocks(parent: RunResult) -> list[Block]:
    """Return a table of the nested runs with what they differ in, best first in a search."""
    if not parent.nested:
        return []
    ranking = rank(_as_of_mlflow(parent), [_as_of_mlflow(run) for run in parent.nested])
    by_id = {run.run_id: run for run in parent.nested}
    ordered = [by_id[run.info.run_id] for run in ranking.runs]
    shown, more = ordered[:SHOWN], ordered[SHOWN:]
    metrics = ranking.metrics or main_metrics(
        {name for run in shown for name in run.metrics}, nested=True)[:METRICS]
    is_search = bool(ranking.metrics)
    texts, numbers = varied(parent.nested, len(by_id) / 2 if is_search else len(by_id))
    head = ("trial" if is_search else "run", "status", *texts, *numbers, *metrics, "time")
    rows = [(_name(run, run.run_id in ranking.best, len(metrics)),
             Cell(run.status, "" if run.status == FINISHED else BAD),
             *(run.params.get(name, words.NONE) for name in texts),
             *(words.rounded(run.params.get(name, words.NONE)) for name in numbers),
             *(words.number(run.metrics.get(name)) for name in metrics),
             words.duration(run.seconds)) for run in shown]
    kind = "trial" if is_search else "nested run"
    title = f"The best {len(shown)} of {len(ordered)} trials" if is_search and more else (
        words.plural(len(ordered), kind))
    return [Title(title, level=4), *words.table(head, rows, len(numbers) + len(metrics) + 1),
            *_notes(parent, more)]


def _notes(parent: RunResult, more: Sequence[RunResult]) -> list[Note]:
    found = []
    if more:
        counts = Counter(run.status for run in more)
        statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
        found.append(Note(f"… and {len(more)} more: {statuses}."))
    if parent.tags.get(ASYNCHRONOUS) == "true":
        found.append(Note("The search is asynchronous: its numbers may differ when it is run "
                          "again."))
    if deeper := sum(len(run.nested) for run in parent.nested):
        found.append(Note(f"In these, {words.plural(deeper, 'more run')} are nested."))
    return found


def varied(runs: Sequence[RunResult], least: float) -> tuple[list[str], list[str]]:
    """Return the parameters that `least` runs have and in which they differ: texts, and numbers."""
    found = Counter(name for run in runs for name in run.params)
    names = [name for name, count in found.items() if count >= least
             and len({run.params.get(name) for run in runs}) > 1][:COLUMNS]
    numbers = [name for name in names if all(
        words.is_number(run.params[name]) for run in runs if name in run.params)]
    return [name for name in names if name not in numbers], numbers


def _name(run: RunResult, is_best: bool, metrics: int) -> Cell:
    name = run.tags.get("trial") or run.name or run.run_id
    if not is_best:
        return Cell(words.short(name, 60))
    return Cell(f"{words.short(name, 60)} {'best' if metrics == 1 else 'Pareto front'}", GOOD)


def _as_of_mlflow(run: RunResult) -> Run:
    """Return what the order of trials asks of a run, under the names of MLflow."""
    return cast(Run, SimpleNamespace(
        info=SimpleNamespace(run_id=run.run_id, status=run.status),
        data=SimpleNamespace(params=run.params, metrics=run.metrics, tags=run.tags)))
