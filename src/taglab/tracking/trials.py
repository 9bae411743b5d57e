"""The order of the trials of a search in a table: best first, with the best one marked."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow.entities import Run

FINISHED = "FINISHED"


@dataclass(frozen=True)
class Ranking:
    """Nested runs in the order of a table.

    metrics: those that the search optimises; empty where the runs are no trials.
    best: the ids of the best run; with several metrics, of the Pareto front.
    """

    runs: list[Run]
    metrics: list[str] = field(default_factory=list)
    best: frozenset[str] = frozenset()


def is_search(run: Run) -> bool:
    """Return whether trials are nested in a run."""
    return "search.direction" in run.data.params


def rank(parent: Run | None, nested: list[Run]) -> Ranking:
    """Return the runs that are nested in `parent`, best first if it is a search.

    Those that did not finish come last, in the order that they have.
    """
    if parent is None or not is_search(parent):
        return Ranking(nested)
    directions = ast.literal_eval(parent.data.params["search.direction"])
    metrics = ast.literal_eval(parent.data.params.get("search.metric", "[]")) or [
        name for run in nested for name in run.data.metrics if "trial" in run.data.tags][:1]
    losses = {run.info.run_id: found for run in nested
              if (found := _losses(run, metrics, directions)) is not None}
    front = _front(losses)
    ranked = sorted((run for run in nested if run.info.run_id in losses), key=lambda run: (
        run.info.run_id not in front, losses[run.info.run_id], int(run.data.tags["trial"])))
    best = frozenset(run.info.run_id for run in ranked[:1]) if len(metrics) == 1 else front
    return Ranking([*ranked, *(run for run in nested if run.info.run_id not in losses)],
                   metrics, best)


def _losses(
    run: Run, metrics: Sequence[str], directions: Sequence[str]
) -> tuple[float, ...] | None:
    """Return the metrics of a finished trial, less being better; None for any other run.

    None, too, for a trial that does not meet its constraints.
    """
    values = [run.data.metrics.get(name, math.nan) for name in metrics]
    tags = run.data.tags
    if run.info.status != FINISHED or "trial" not in tags or tags.get("feasible") == "false" or (
            not values or any(map(math.isnan, values))):
        return None
    return tuple(-value if direction == "maximize" else value
                 for value, direction in zip(values, directions))


def _front(losses: Mapping[str, tuple[float, ...]]) -> frozenset[str]:
    """Return the ids of the trials to which no other one is better, or equal, in all metrics."""
    front: set[tuple[float, ...]] = set()
    for own in sorted({*losses.values()}):  # what is better than another comes before it
        if not any(all(a <= b for a, b in zip(other, own)) for other in front):
            front.add(own)
    return frozenset(run for run, own in losses.items() if own in front)
