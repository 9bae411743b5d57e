"""What came out of a search."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import mlflow
import pandas as pd
from matplotlib.figure import Figure

from .. import viz
from .journal import Journal, Record, best
from .plan import Plan
from .runs import Runs
from .worker import FAILED, FINISHED, PRUNED

FEWEST = 10  # finished trials from which something can be said of the parameters


class SearchFailed(RuntimeError):
    """No trial finished."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found: of several metrics a list of what no other trial beats in all."""

    best_params: Any
    best_value: Any
    best_run_id: Any
    run_id: str  # of the parent
    trials: pd.DataFrame  # number, state, value (of several metrics, one column each), parameters


def conclude(plan: Plan, journal: Journal, runs: Runs) -> SearchResult | None:
    """Log to the parent what was asked and what came out; return it, or None if nothing did."""
    records = sorted(journal.ended.values(), key=lambda record: record.number)
    found = best(plan, records)
    trials = table(plan, records)
    params = {"method": plan.method, "direction": plan.directions, "metric": plan.metrics,
              "trials": plan.trials, "workers": plan.workers, "seed": plan.seed}
    params |= {f"space.{name}": plan.space.objects.get(name, each)
               for name, each in plan.space.distributions.items()}
    counts = Counter(trials["state"])
    metrics = {f"trials_{word}": counts[state] for word, state in
               {"finished": FINISHED, "failed": FAILED, "pruned": PRUNED}.items()}
    if len(plan.directions) == 1 and found:
        params |= {f"best.{name}": value
                   for name, value in plan.space.values(found[0].point).items()}
        metrics |= dict(zip(plan.metrics or found[0].metrics, found[0].values))
    runs.log_parent(params, metrics)
    mlflow.log_text(trials.to_csv(index=False), "trials.csv")
    for name, figure in pictures(plan, records, trials).items():
        mlflow.log_figure(figure, f"{name}.png")
    params, values, ids = ([plan.space.values(each.point) for each in found],
                           [each.values for each in found], [each.run_id for each in found])
    if not found:
        return None
    if len(plan.directions) > 1:
        return SearchResult(params, values, ids, runs.parent, trials)
    return SearchResult(*params, *values[0], *ids, runs.parent, trials)


def table(plan: Plan, records: list[Record]) -> pd.DataFrame:
    """Return a row for each trial."""
    names = plan.metrics if len(plan.metrics) > 1 else ["value"]
    rows = [{"number": each.number, "state": each.state, **dict(zip(names, each.values)),
             **plan.space.values(each.point)} for each in records]
    return pd.DataFrame(rows, columns=["number", "state", *names, *plan.space.distributions])


def pictures(plan: Plan, records: list[Record], trials: pd.DataFrame) -> dict[str, Figure]:
    """Return the figures that show a search, by name."""
    finished = trials[trials["state"] == FINISHED]
    names = list(plan.space.distributions)
    if finished.empty:
        return {}
    if len(plan.directions) > 1:
        front = [each.number for each in best(plan, records)]
        return {"pareto": viz.plot_pareto(finished.set_index("number"), plan.metrics, front)}
    drawn = {"history": viz.plot_search_history(finished, *plan.directions),
             "parallel_coordinates": viz.plot_parallel_coordinates(
                 finished[["value", *names]], *plan.directions)}
    if len(finished) >= FEWEST and len(names) > 1 and finished["value"].nunique() > 1:
        drawn["importances"] = viz.plot_scores(importances(finished["value"], finished[names]))
    if any(each.reports for each in records):
        drawn["learning_curves"] = viz.plot_learning_curves(
            {each.number: pd.Series(each.reports, dtype=float) for each in records})
    return drawn


def importances(values: pd.Series, params: pd.DataFrame) -> pd.Series:
    """Return which share of the variance of the values lies between the fifths of each parameter.

    Of a parameter that is not a number, between its values. It is the correlation ratio; Optuna's
    importances tell as much, and take a second to import.
    """
    shares = {}
    for name, column in params.items():
        numeric = pd.api.types.is_numeric_dtype(column) and column.nunique() > 5
        groups = pd.qcut(column, 5, duplicates="drop") if numeric else column.map(repr)
        means = values.groupby(groups, observed=True).transform("mean")
        shares[name] = means.var() / values.var()
    return pd.Series(shares, name="share of the variance between fifths")
