"""The result of a search: what it found, and its summary in the parent run."""

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
import pandas as pd
from matplotlib.figure import Figure

from taglab.search import figures
from taglab.search.journal import TrialRecord
from taglab.search.messages import FAILED, FINISHED, PRUNED
from taglab.search.plan import Plan
from taglab.tracking.deferred import defer
from taglab.tracking.quick_mlflow import mlflow

FEWEST = 10  # finished trials from which importances can be estimated
LONGEST_PARAM = 500  # characters


@dataclass(frozen=True)
class SearchResult:
    """The best trial of a search; with several metrics, lists with the trials of the Pareto front.

    best_params: the arguments of the training function, by name.
    best_value: the metric; with several metrics, a list of their values for each trial.
    best_run_id: the nested run.
    run_id: the parent run.
    trials: a row for each trial, with number, state, value (with several metrics, a column for
        each), feasible (whether it meets its constraints, where a trial has any) and the
        parameters.
    """

    best_params: Any
    best_value: Any
    best_run_id: Any
    run_id: str
    trials: pd.DataFrame


def log_result(plan: Plan, records: list[TrialRecord], run_id: str) -> SearchResult | None:
    """Log the options and the result of a search to the active run, `run_id`; return the result.

    Returns None when no trial finished and met its constraints.
    """
    best = best_trials(plan, records)
    single = best[0] if best and len(plan.directions) == 1 else None
    trials = table(plan, records)
    log_options(plan, single, run_id)
    counts = Counter(trials["state"])
    metrics = {"trials_finished": float(counts[FINISHED]), "trials_failed": float(counts[FAILED]),
               "trials_pruned": float(counts[PRUNED])}
    if single:
        metrics |= zip(plan.metrics or single.metrics, single.values)
    mlflow.log_metrics(metrics)
    mlflow.log_text(trials.to_csv(index=False), "trials.csv")
    if not best:
        return None
    defer(run_id, lambda: log_figures(plan, records, best, run_id))
    if single:
        return SearchResult(plan.params(single.point), single.values[0], single.run_id, run_id,
                            trials)
    return SearchResult([plan.params(each.point) for each in best], [each.values for each in best],
                        [each.run_id for each in best], run_id, trials)


def best_trials(plan: Plan, records: list[TrialRecord]) -> list[TrialRecord]:
    """Return the best trial, the first of equals; with several metrics, the Pareto front.

    Only trials that meet their constraints; empty when none of them finished.
    """
    kept = [record for record in records if record.can_be_best]
    if len(plan.directions) == 1:
        return [min(kept, key=lambda record: plan.losses(record.values))] if kept else []
    study = optuna.create_study(directions=plan.study_directions)
    study.add_trials([record.to_optuna(plan) for record in kept])
    return [kept[trial.number] for trial in study.best_trials]


def log_options(plan: Plan, best: TrialRecord | None, run_id: str) -> None:
    """Log the options of a search and the best parameters, unless the process logged its own."""
    params = {"method": plan.method, "direction": plan.directions, "metric": plan.metrics,
              "trials": plan.trials, "workers": plan.workers, "seed": plan.seed}
    params |= {"max_concurrent": plan.max_concurrent} if plan.ordered else {}
    params |= {f"space.{name}": values for name, values in plan.space.items()}
    if best:
        params |= {f"best.{name}": value for name, value in plan.params(best.point).items()}
    logged = mlflow.get_run(run_id).data.params
    mlflow.log_params({f"search.{name}": str(value)[:LONGEST_PARAM]
                       for name, value in params.items() if f"search.{name}" not in logged})


def table(plan: Plan, records: list[TrialRecord]) -> pd.DataFrame:
    """Return a row for each trial: number, state, metrics and parameters."""
    names = plan.metrics if len(plan.metrics) > 1 else ["value"]
    shown = ["feasible"] if any(each.constraints for each in records) else []
    rows = [{"number": each.number, "state": each.state, **dict(zip(names, each.values)),
             "feasible": each.can_be_best, **plan.params(each.point)} for each in records]
    return pd.DataFrame(rows, columns=["number", "state", *names, *shown, *plan.space])


def why_none(records: list[TrialRecord]) -> str:
    """Return why none of the trials is the best one."""
    def excess(record: TrialRecord) -> float:
        return sum(each for each in record.constraints.values() if each > 0)

    if finished := [each for each in records if each.state == FINISHED]:
        nearest = min(finished, key=excess)
        values = ", ".join(f"{name}={value:g}" for name, value in nearest.constraints.items())
        return (f"no trial met its constraints, which are met at 0 or less; trial"
                f" {nearest.number} came nearest, with {values}")
    return (f"no trial finished; trial {records[0].number} ended {records[0].state}:\n"
            f"{records[0].error}")


def log_figures(
    plan: Plan, records: list[TrialRecord], best: list[TrialRecord], run_id: str
) -> None:
    """Log the figures of a search to its run; only warn if that fails."""
    try:
        for name, figure in draw_figures(plan, records, best).items():
            mlflow.MlflowClient().log_figure(run_id, figure, f"{name}.png")
    except Exception as error:
        print(f"warning: figures of the search in run {run_id} were not stored: {error}",
              file=sys.stderr)


def draw_figures(
    plan: Plan, records: list[TrialRecord], best: list[TrialRecord]
) -> dict[str, Figure]:
    """Return the figures of a search, by name."""
    trials = table(plan, records)
    finished = trials[[each.can_be_best for each in records]]
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
