"""What came out of a search."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
import pandas as pd
from matplotlib.figure import Figure

from taglab.search.plan import Plan
from taglab.search.runs import Record
from taglab.search.worker import FAILED, FINISHED, PRUNED
from taglab.search import figures
from taglab.tracking.quick_mlflow import mlflow

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


def conclude(plan: Plan, records: list[Record]) -> SearchResult | None:
    """Log to the active run what was asked and what came out; return it, or None if nothing did."""
    parent, trials = mlflow.active_run().info.run_id, table(plan, records)
    study = optuna.create_study(directions=plan.directions)
    study.add_trials([record.as_trial(plan) for record in records])
    best = [records[trial.number] for trial in study.best_trials]
    params = {"method": plan.method, "direction": plan.directions, "metric": plan.metrics,
              "trials": plan.trials, "workers": plan.workers, "seed": plan.seed}
    params |= {f"space.{name}": values for name, values in plan.space.items()}
    counts = Counter(trials["state"])
    metrics = {f"trials_{word}": counts[state] for word, state in
               {"finished": FINISHED, "failed": FAILED, "pruned": PRUNED}.items()}
    if len(plan.directions) == 1 and best:
        best = best[:1]  # of equals
        params |= {f"best.{name}": value for name, value in plan.params(best[0].point).items()}
        metrics |= dict(zip(plan.metrics or best[0].metrics, best[0].values))
    logged = mlflow.get_run(parent).data.params  # by the process itself, under the same name
    mlflow.log_params({f"search.{name}": str(value)[:500] for name, value in params.items()
                       if f"search.{name}" not in logged})
    mlflow.log_metrics(metrics)
    mlflow.log_text(trials.to_csv(index=False), "trials.csv")
    if not best:
        return None
    for name, figure in draw_figures(plan, records, best, trials).items():
        mlflow.log_figure(figure, f"{name}.png")
    found = [[plan.params(each.point) for each in best], [each.values for each in best],
             [each.run_id for each in best]]
    if len(plan.directions) == 1:
        found = [found[0][0], found[1][0][0], found[2][0]]
    return SearchResult(*found, parent, trials)


def table(plan: Plan, records: list[Record]) -> pd.DataFrame:
    """Return a row for each trial."""
    names = plan.metrics if len(plan.metrics) > 1 else ["value"]
    rows = [{"number": each.number, "state": each.state, **dict(zip(names, each.values)),
             **plan.params(each.point)} for each in records]
    return pd.DataFrame(rows, columns=["number", "state", *names, *plan.space])


def draw_figures(
    plan: Plan, records: list[Record], best: list[Record], trials: pd.DataFrame
) -> dict[str, Figure]:
    """Return the figures that show a search, by name."""
    finished = trials[trials["state"] == FINISHED]
    if len(plan.directions) > 1:
        front = [each.number for each in best]
        return {"pareto": figures.plot_pareto(finished.set_index("number"), plan.metrics, front)}
    drawn = {"history": figures.plot_search_history(finished, *plan.directions),
             "parallel_coordinates": figures.plot_parallel_coordinates(
                 finished[["value", *plan.space]], *plan.directions)}
    if len(finished) >= FEWEST and len(plan.space) > 1 and finished["value"].nunique() > 1:
        drawn["importances"] = figures.plot_importances(
            finished["value"], finished[[*plan.space]])
    if any(each.reports for each in records):
        drawn["learning_curves"] = figures.plot_learning_curves(
            {each.number: pd.Series(each.reports, dtype=float) for each in records})
    return drawn
