"""`search`: what a process calls."""

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from ..store import state_folder
from ..tracking import start_run  # before mlflow
import mlflow
import optuna
from mlflow.tracking.context.registry import resolve_tags

from .cluster import Place, Shared, find_place, wait_for_parent
from .evolution import evolve
from .journal import Journal
from .launcher import Launcher
from .plan import Plan, Point, SearchError, make_plan
from .pool import Pool
from .result import SearchFailed, SearchResult, conclude
from .runs import Runs, digest, fingerprint
from .study import asked, make_study
from .worker import FINISHED

PAUSE = 2  # seconds between two looks at what other processes have done

__all__ = ["SearchError", "SearchFailed", "SearchResult", "search"]


def search(
    train: Callable[..., Any], space: dict[str, Any] | list[dict[str, Any]], *,
    method: str = "tpe", direction: str | list[str] = "maximize",
    metric: str | list[str] | None = None, trials: int | None = None, workers: int = 1,
    seed: int | None = None, name: str | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None, skip_finished: bool = False,
) -> SearchResult:
    """Call `train` with many points of a space, each in a nested run, and say which was best.

    train: takes the parameters by their names and returns a number, or a dict of numbers, paths
        of files and figures, which its run gets. It runs in another process. When it has a
        parameter `trial`, that has `number`, `folder` (for files) and `report(value, step)`.
    space: parameters by name: a list is a choice, a pair of numbers a range with both ends,
        whole when both are; or a distribution of Optuna. For the method list: a list of points.
    method: grid (all combinations of the lists, the last key fastest), list (these points),
        ablation (a base with None for each key, and one trial for each part of its list),
        random, tpe, cmaes, evolution (generations of 6 points); or random points of which
        asha, hyperband and median stop those whose reports fall behind.
    metric: the name of what to optimise, where `train` returns several; a list for several.
    trials: how many; all points of a grid, a list or an ablation, else 30. Different points:
        fewer where the space has fewer.
    workers: processes on this machine; they share its cores.
    seed: for the points; each trial starts with the seed `seed + number`. By default one that
        the same commit and the same arguments always get.
    name: what tells an unfinished search from others, by default the tag and the process. When
        the same search of the same commit is started again, it goes on with what is missing.
    sampler, pruner: any of Optuna's, instead of those of a method.
    skip_finished: do not run what an earlier search has finished, with the same function and the
        same parameters, but take what came out.

    Several processes may share a search: see `lib.search.cluster`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = (space, method, direction, metric, trials, workers, seed, sampler, pruner)
    plan = make_plan(train, *arguments)
    place = find_place(plan)
    with contextlib.nullcontext() if mlflow.active_run() else own_run():
        tags = resolve_tags()
        key = digest(name or [tags.get("tag"), tags.get("process")], tags.get("commit"),
                     tags.get("config_hash"), fingerprint(train), arguments)
        if seed is None:
            plan = make_plan(train, *arguments[:6], int(key[:8], 16), sampler, pruner)
        folder = state_folder() / "searches" / (f"{key}-{place.index}" if place else key)
        journal = Journal(folder, f"{key}-{tags.get('build', '')}" if place else "")
        with contextlib.closing(journal):
            return finish(plan, journal, place, skip_finished)


def own_run() -> contextlib.AbstractContextManager[Any]:
    """Return a run for a search that is called where none is active."""
    return start_run(getattr(sys.modules["__main__"], "__file__", "notebook/main.py"), {})


def finish(plan: Plan, journal: Journal, place: Place | None, skip: bool) -> SearchResult:
    """Run what is missing of a search, and say what came out of all of it."""
    active = mlflow.get_run(mlflow.active_run().info.run_id)
    if "search" in active.data.tags:
        raise SearchError("this run has a search already; give this one a run of its own:"
                          " with mlflow.start_run(nested=True):")
    parent = wait_for_parent(journal.identity) if place and place.index else active
    shared = Shared(plan, place, journal.identity) if place and place.storage else None
    runs = Runs(plan, journal, parent, place, skip)
    run_trials(plan, journal, runs, place, shared)
    if place and place.index:
        journal.forget()
        print(f"process {place.index} has no more trials; process 0 goes on with the result")
        raise SystemExit(0)
    result = conclude(plan, journal, runs)
    journal.forget()
    if shared:
        shared.forget()
    if result is None:
        first = min(journal.ended.values(), key=lambda record: record.number)
        raise SearchFailed(f"no trial finished; trial {first.number} ended so:\n{first.error}")
    return result


def run_trials(
    plan: Plan, journal: Journal, runs: Runs, place: Place | None, shared: Shared | None
) -> None:
    """Run every trial that has not ended yet; if that fails, no run is left that seems to run."""
    with contextlib.ExitStack() as broken_off:
        broken_off.callback(runs.break_off)
        runs.resume()
        study = shared.study if shared else make_study(plan, journal.ended.values())
        with (contextlib.closing(Pool(plan.train, plan.workers)) as pool, contextlib.closing(
                Launcher(plan, study, journal, runs, pool, shared)) as launcher):
            if plan.method == "evolution":
                evolve(plan, losses(plan, study, journal, launcher))
            elif shared:
                launcher.run(shared.asked(), ahead=False)
            else:
                points = enumerate(plan.points or [None] * plan.trials)
                mine = points if place is None else itertools.islice(
                    points, place.index, None, place.count)
                launcher.run(asked(plan, study, journal.ended, mine), plan.points is not None)
            while place and place.index == 0 and not runs.complete():
                time.sleep(PAUSE)
                if shared:  # the trials of a process that died wait again
                    launcher.run(shared.asked(), ahead=False)
        if place is None:
            broken_off.pop_all()


def losses(
    plan: Plan, study: optuna.Study, journal: Journal, launcher: Launcher
) -> Callable[[list[Point]], list[float]]:
    """Return a function that runs a generation of points, each different point once."""
    points: list[Point] = []

    def of(generation: list[Point]) -> list[float]:
        points.extend(point for place, point in enumerate(generation)
                      if point not in points + generation[:place])
        launcher.run(asked(plan, study, journal.ended, enumerate(points)), ahead=True)
        ended = [journal.ended[points.index(point)] for point in generation]
        return [plan.loss(each.values)[0] if each.state == FINISHED else math.inf
                for each in ended]

    return of
