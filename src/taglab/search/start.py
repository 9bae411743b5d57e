"""`search`: runs many trials of a training function."""

import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
import optuna
from mlflow.entities import Run

from taglab.lab import find_lab, state_folder
from taglab.search.errors import SearchError, SearchFailed
from taglab.search.evolution import evolve
from taglab.search.journal import Journal
from taglab.search.launcher import Launcher
from taglab.search.messages import FINISHED
from taglab.search.plan import MAX_CONCURRENT, Plan
from taglab.search.processes import (
    SearchProcess, order_note, this_process, wait_for_parent)
from taglab.search.queue import POLL, TrialQueue
from taglab.search.result import SearchResult, log_options, log_result, why_none
from taglab.search.runs import TrialRuns
from taglab.tracking.content import content_digest
from taglab.tracking.context import new_run_tags
from taglab.tracking.kept import keep, remove_kept
from taglab.tracking.patch import code_state
from taglab.tracking.provenance import digest, fingerprint
from taglab.tracking.run import start_run
from taglab.tracking.signals import interruptible


def search(
    train: Callable[..., Any], space: dict[str, Any] | list[dict[str, Any]], *,
    direction: str | list[str] | None = None, method: str = "tpe",
    metric: str | list[str] | None = None, trials: int | None = None, workers: int = 1,
    seed: int | None = None, name: str | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None, max_concurrent: int = MAX_CONCURRENT,
    asynchronous: bool = False, skip_finished: bool = False,
) -> SearchResult:
    """Call `train` at many points of a space, each in a nested run; return the best point.

    train: takes the parameters as keyword arguments, in another process, and returns a number, or
        a dict of numbers, figures and paths of files, which are logged to the trial's run. A
        parameter named `trial` gets a `Trial`, with `number`, `folder` (for files),
        `report(value, step)` and `set_constraint(name, value)`: a trial with a value above 0 is
        never the best one.
    space: parameters by name. A list is a choice; a pair (low, high) of numbers is a range with
        both ends, of integers where both are; otherwise a distribution of Optuna. For the method
        list: a list of points.
    direction: minimize or maximize, with no default; a list for several metrics.
    method: grid (all combinations of the lists, the last key fastest), list (these points),
        ablation (a base with None for each key, and one trial for each part of its list),
        random, tpe, cmaes, evolution (generations of 6 points); or asha, hyperband and median,
        which prune random points whose reports fall behind.
    metric: the name of what to optimise, where `train` returns several; a list for several.
    trials: how many; by default all points of a grid, a list or an ablation, else 30. Points are
        different, so there are fewer where the space has fewer.
    workers: processes on this machine, which share its cores.
    seed: of the points; each trial starts with the seed `seed + number`. By default one that
        follows from the function, the space, the method, the direction and the metric.
    name: tells this search from others that are unfinished; by default the tag and the process.
        When the same code starts the same search again, with as many trials or more, only the
        missing trials run; uncommitted changes make other code.
    sampler, pruner: Optuna's, instead of those of a method.
    max_concurrent: how many points a sampler chooses before it learns how the first of them did;
        so many trials can run at once. A pruner compares a trial with those so far before it.
        Twice the number of workers keeps them busy where trials differ in length.
    asynchronous: a sampler or pruner learns from each trial as soon as it has ended. No worker
        ever waits, but the same search may choose other points when it runs again.
    skip_finished: take over the results of trials that an earlier search finished with the same
        code, function, seed and parameters.

    The points depend on the arguments alone, and not on the number of workers or processes, on
    which trial ends first, or on a search having been interrupted; unless it is asynchronous.
    Several processes can share a search: see `taglab.search.processes`.

    Raises SearchError for a search that cannot be run, SearchFailed when no trial
    finished, or none met its constraints.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = digest(fingerprint(train), space, method, direction, metric, sampler, pruner)
    plan = Plan(train, space, method, direction, metric, trials, workers,
                int(points[:8], 16) if seed is None else seed, sampler, pruner, max_concurrent,
                asynchronous)
    process = this_process(plan)
    with _active_run() as own, interruptible():
        tags = new_run_tags()
        code = content_digest(train, seed, code_state(tags, find_lab(Path.cwd())))
        key = content_digest(
            code, space, method, direction, metric, sampler, pruner, plan.seed, max_concurrent,
            asynchronous, name or [tags.get("tag"), tags.get("process")])
        folder, identity = state_folder() / "searches" / key, uuid.uuid4().hex
        if process.count > 1:
            folder = folder.with_name(f"{key}-{process.index}")
            identity = f"{key}-{tags.get('job') or tags.get('build', '')}"
        remove_kept(folder.name)  # in one run, the same search again is another one
        journal = Journal(folder, identity, plan.trials)
        try:
            run = _Search(plan, process, journal, own, identity, code, skip_finished)
            if process.index:
                run.follow()
                raise SystemExit(0)
            return run.lead()
        except BaseException:
            journal.close()
            raise


@dataclass(frozen=True)
class _Search:
    """A search in this process.

    own: the run that was active when the search began.
    identity: of the queue.
    code: tells the function, and all that it uses, from any other.
    """

    plan: Plan
    process: SearchProcess
    journal: Journal
    own: Run
    identity: str
    code: str
    skip_finished: bool

    def lead(self) -> SearchResult:
        """Run the search as process 0, whose run is the parent, and return the result."""
        if self.own.data.tags.get("search", self.journal.identity) != self.journal.identity:
            raise SearchError("this run already has a search; open another run for this one:"
                              " with mlflow.start_run(nested=True):")
        if self.plan.asynchronous:
            mlflow.set_tag("asynchronous", "true")  # summaries of runs show it
        if note := order_note(self.plan, self.process):
            print(note)
        queue = TrialQueue(self.plan, self.process, self.identity)
        self._run_trials(self.own, queue)
        records = [record for _, record in sorted(self.journal.ended.items())]
        result = log_result(self.plan, records, self.own.info.run_id)
        queue.delete()
        if result is None or self.process.count > 1:
            self.journal.end()
        else:  # until then a killed process starts this search again
            keep(self.journal.folder.name, self.journal.end)
        if result is None:
            raise SearchFailed(why_none(records))
        return result

    def follow(self) -> None:
        """Run trials of the search that process 0 leads, until none is left."""
        parent = wait_for_parent(self.journal.identity, self.own)
        if parent.info.status != FINISHED:
            self._run_trials(parent, TrialQueue(self.plan, self.process, self.identity))
        self.journal.end()
        print(f"process {self.process.index} has no more trials; process 0 will log the result")

    def _run_trials(self, parent: Run, queue: TrialQueue) -> None:
        """Run the trials that have not ended; on an error, leave none that seems to run."""
        plan, index, several = self.plan, self.process.index, self.process.count > 1
        runs = TrialRuns(plan, self.journal, parent, index if several else None, self.code,
                         self.skip_finished)
        try:
            runs.reconcile()
            with contextlib.closing(Launcher(plan, self.journal, runs, queue)) as launcher:
                if plan.method != "evolution":
                    queue.fill(plan.trials, self.journal.ended)
                if not index:  # other processes wait for this tag before they ask for trials
                    log_options(plan, None, parent.info.run_id)
                    mlflow.set_tag("search", self.journal.identity)
                if plan.method == "evolution":
                    evolve(plan.distributions, plan.trials, plan.seed, launcher.losses)
                else:
                    launcher.run()
                while several and not index and not runs.all_ended():
                    time.sleep(2 * POLL)
                    launcher.end_lost()
                    launcher.run()  # runs the trials of processes that died
        except BaseException:
            runs.reconcile()
            raise


@contextlib.contextmanager
def _active_run() -> Iterator[Run]:
    """Yield the active run; where there is none, start one for the search."""
    if active := mlflow.active_run():
        yield mlflow.get_run(active.info.run_id)
    else:
        main_file = getattr(sys.modules["__main__"], "__file__", "notebook/main.py")
        with start_run(main_file, {}) as run:
            yield mlflow.get_run(run.info.run_id)
