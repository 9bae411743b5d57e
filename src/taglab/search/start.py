"""`search`: what a process calls."""

import contextlib
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
import optuna
from mlflow.entities import Run
from mlflow.tracking.context.registry import resolve_tags

from taglab.lab import state_folder
from taglab.search.launcher import Launcher
from taglab.search.plan import Plan, SearchError, evolve
from taglab.search.result import SearchFailed, SearchResult, conclude
from taglab.search.runs import Journal, Runs
from taglab.search.shared import Place, Queue, find_place, wait_for_parent
from taglab.search.worker import FINISHED
from taglab.tracking.provenance import digest, fingerprint
from taglab.tracking.run import start_run
from taglab.tracking.signals import interruptible

PAUSE = 2  # seconds between two looks at what other processes have done


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

    Several processes may share a search: see `taglab.search.shared`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = digest(fingerprint(train), space, method, direction, metric, trials, workers, seed,
                   sampler, pruner)
    plan = Plan(train, space, method, direction, metric, trials, workers,
                int(known[:8], 16) if seed is None else seed, sampler, pruner)
    place = find_place(plan)
    with contextlib.nullcontext() if mlflow.active_run() else own_run(), interruptible():
        tags = resolve_tags()
        key = digest(known, name or [tags.get("tag"), tags.get("process")], tags.get("commit"),
                     tags.get("config_hash"))
        folder, identity = state_folder() / "searches" / key, uuid.uuid4().hex
        if place.count > 1:
            folder = folder.with_name(f"{key}-{place.index}")
            identity = f"{key}-{tags.get('job') or tags.get('build', '')}"
        with contextlib.closing(Journal(folder, identity)) as journal:
            parent = find_parent(journal, place)
            if parent.info.status != FINISHED:
                queue = Queue(plan, place, identity)
                run_trials(plan, journal, parent, place, queue, skip_finished)
            if place.index:
                journal.forget()
                print(f"process {place.index} has no more trials; process 0 goes on")
                raise SystemExit(0)
            records = [record for _, record in sorted(journal.ended.items())]
            result = conclude(plan, records)
            journal.forget()
            queue.forget()
            if result:
                return result
            raise SearchFailed(f"no trial finished; trial {records[0].number} ended so:\n"
                               f"{records[0].error}")


def own_run() -> contextlib.AbstractContextManager[Any]:
    """Return a run for a search that is called where none is active."""
    return start_run(getattr(sys.modules["__main__"], "__file__", "notebook/main.py"), {})


def find_parent(journal: Journal, place: Place) -> Run:
    """Return the run in which those of the trials are nested."""
    active = mlflow.get_run(mlflow.active_run().info.run_id)
    if active.data.tags.get("search", journal.identity) != journal.identity:
        raise SearchError("this run has a search already; give this one a run of its own:"
                          " with mlflow.start_run(nested=True):")
    return wait_for_parent(journal.identity) if place.index else active


def run_trials(
    plan: Plan, journal: Journal, parent: Run, place: Place, queue: Queue, skip_finished: bool
) -> None:
    """Run every trial that has not ended yet; if that fails, no run is left that seems to run."""
    runs = Runs(plan, journal, parent, place.index if place.count > 1 else None, skip_finished)
    try:
        runs.settle()
        with contextlib.closing(Launcher(plan, journal, runs, queue)) as launcher:
            if plan.method != "evolution":
                queue.fill(plan.trials, journal.ended)
            if not place.index:  # the other processes look for this tag, and ask for trials
                mlflow.set_tag("search", journal.identity)
            if plan.method == "evolution":
                evolve(plan, launcher.losses)
            else:
                launcher.run()
            while place.count > 1 and not place.index and not runs.complete():
                time.sleep(PAUSE)
                launcher.run()  # the trials of a process that died wait again
    except BaseException:
        runs.settle()
        raise
