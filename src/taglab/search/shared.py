"""The trials that wait; and several processes, on a cluster say, that share one search.

JOB_COMPLETION_INDEX and JOB_COMPLETIONS say which process this is and how many there are: points
that are known beforehand are divided between them. LAB_SEARCH_STORAGE is the address of Optuna's
storage (postgresql+psycopg2://…), which they need for what depends on other trials: samplers and
pruners. Process 0 has the parent run, waits for all trials and goes on with the result. The runs
of the other processes are nested in it, and they end when no trial is left for them.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from taglab.tracking.quick_mlflow import mlflow
import optuna
from mlflow.entities import Run
from mlflow.tracking.context.registry import resolve_tags
from optuna.trial import TrialState

from taglab.search.plan import Plan, SearchError
from taglab.search.runs import STATES, Record
from taglab.search.worker import FINISHED
from taglab.tracking.summary import PARENT

PATIENCE = 600  # seconds that a process waits for process 0
BEAT = 10  # seconds between two signs of life of a trial; after six it is given to another


@dataclass(frozen=True)
class Place:
    """Which process of a search this is."""

    index: int = 0
    count: int = 1
    storage: str = ""


def find_place(plan: Plan, environment: Mapping[str, str] = os.environ) -> Place:
    """Return the place of this process."""
    index, count = (environment.get(f"JOB_COMPLETION{end}") for end in ("_INDEX", "S"))
    storage = environment.get("LAB_SEARCH_STORAGE", "")
    if index is None or count in (None, "1"):
        return Place()
    if plan.method == "evolution":
        raise SearchError("evolution runs one generation after the other, which processes cannot"
                          " share; use tpe or cmaes, or one process")
    if not storage and (plan.points is None or plan.pruner):
        raise SearchError("a search whose trials depend on each other needs LAB_SEARCH_STORAGE in"
                          " several processes: the address of a database for Optuna")
    return Place(int(index), int(count), storage)


def wait_for_parent(identity: str, seconds: float = PATIENCE) -> Run:
    """Return the run of process 0, and nest the active run in it.

    A pod of a wide job that takes the place of a lost one may find that the search is finished.
    """
    active, client = mlflow.active_run().info, mlflow.MlflowClient()
    condition, found = f"tags.search = '{identity}'", {"RUNNING"}
    if "job" in resolve_tags():
        found.add(FINISHED)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for run in client.search_runs([active.experiment_id], condition,
                                      order_by=["attributes.start_time ASC"]):  # it is the first
            if "trial" not in run.data.tags and run.info.status in found:
                client.set_tag(active.run_id, PARENT, run.info.run_id)
                return run
        time.sleep(1)
    raise SearchError(f"process 0 of this search did not start within {seconds:g} seconds")


class Queue:
    """The trials that wait, in Optuna's study: each is handed out once to whoever asks."""

    def __init__(self, plan: Plan, place: Place, identity: str) -> None:
        self._plan, self._place, self.shared = plan, place, bool(place.storage)
        self._trials: dict[int, optuna.Trial] = {}  # that this process runs
        self._storage = optuna.storages.RDBStorage(
            place.storage, heartbeat_interval=BEAT, grace_period=6 * BEAT,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(1)
        ) if self.shared else None
        self._study = optuna.create_study(
            storage=self._storage, study_name=identity, load_if_exists=True,
            directions=plan.directions, sampler=plan.sampler,
            pruner=plan.pruner or optuna.pruners.NopPruner())

    def fill(self, trials: int, ended: Mapping[int, Record]) -> None:
        """Let the trials up to a number wait, those that are this process's and have not ended."""
        if self._place.index or ended:
            self._study.sampler.reseed_rng()  # or it would ask for points that are known
        if self._place.index and self.shared:  # process 0 does it
            return
        known = {trial.user_attrs.get("number") for trial in self._study.get_trials(False)}
        for number in range(self._place.index, trials, 1 if self.shared else self._place.count):
            if number not in known and number in ended:
                self._study.add_trial(ended[number].as_trial(self._plan))
            elif number not in known:
                self._study.enqueue_trial({}, {"number": number})

    def ask(self) -> Iterator[Record]:
        """Yield each trial that waits, until none does."""
        while True:
            if self.shared:
                optuna.storages.fail_stale_trials(self._study)
            if not self._study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
                return
            trial, points = self._study.ask(self._plan.asked), self._plan.points
            if "number" in trial.user_attrs:
                number = trial.user_attrs["number"]
                self._trials[number] = trial
                self.beat()
                yield Record(number, trial.params if points is None else points[number],
                             attempts=1 + self._lost(number))
            else:  # another process took the last one that waited
                self._study.tell(trial, state=TrialState.FAIL)

    def _lost(self, number: int) -> int:
        """Return how often a process has died with this trial."""
        failed = self._study.get_trials(False, [TrialState.FAIL]) if self.shared else []
        return sum(each.user_attrs.get("number") == number for each in failed)

    def report(self, record: Record, value: float, step: int) -> bool:
        """Take what a trial reports; return whether the pruner stops it."""
        trial, is_new = self._trials[record.number], step not in record.reports
        record.reports.setdefault(step, value)
        if is_new and self._plan.pruner:
            trial.report(value, step)
        return bool(self._plan.pruner) and trial.should_prune()

    def tell(self, record: Record) -> None:
        """Let the study know how a trial ended, if it does not know yet."""
        # Another process may have told it, when this one gave no sign of life for too long.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if trial := self._trials.pop(record.number, None):
                values = record.values if record.state == FINISHED else None
                self._study.tell(trial, values, STATES[record.state])

    def beat(self) -> None:
        """Say that the trials of this process are alive."""
        for trial in self._trials.values() if self.shared else ():
            self._storage.record_heartbeat(trial._trial_id)

    def forget(self) -> None:
        """Remove the study of a search that is finished."""
        if self.shared:
            optuna.delete_study(study_name=self._study.study_name, storage=self._storage)
