"""The queue of waiting trials, kept in an Optuna study that several processes can share."""

import contextlib
from collections.abc import Iterator, Mapping

import optuna
from optuna.trial import TrialState

from taglab.search.journal import STATES, TrialRecord
from taglab.search.messages import FINISHED, Report
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess

HEARTBEAT = 10  # seconds between two heartbeats of a trial; after six it is given to another


class TrialQueue:
    """Hands out each waiting trial once; `ask` and `tell` are those of Optuna's studies.

    shared: whether the study is in a storage that other processes use, too.
    """

    def __init__(self, plan: Plan, process: SearchProcess, identity: str) -> None:
        self._plan, self._process = plan, process
        self._trials: dict[int, optuna.Trial] = {}  # running in this process
        self._storage = optuna.storages.RDBStorage(
            process.storage, heartbeat_interval=HEARTBEAT, grace_period=6 * HEARTBEAT,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(1)
        ) if process.storage else None
        self.shared = self._storage is not None
        self._study = optuna.create_study(
            storage=self._storage, study_name=identity, load_if_exists=True,
            directions=plan.study_directions, sampler=plan.sampler,
            pruner=plan.pruner or optuna.pruners.NopPruner())

    def fill(self, trials: int, ended: Mapping[int, TrialRecord]) -> None:
        """Enqueue this process's trials with numbers below `trials`, unless they have ended."""
        if self._process.index or ended:
            self._study.sampler.reseed_rng()  # the same seed would suggest the same points again
        if self._process.index and self.shared:  # process 0 fills a shared queue
            return
        known = {trial.user_attrs.get("number") for trial in self._study.get_trials(False)}
        step = 1 if self.shared else self._process.count
        for number in range(self._process.index, trials, step):
            if number not in known and number in ended:
                self._study.add_trial(ended[number].to_optuna(self._plan))
            elif number not in known:
                self._study.enqueue_trial({}, {"number": number})

    def ask(self) -> Iterator[TrialRecord]:
        """Yield each waiting trial, until there is none."""
        while True:
            if self.shared:
                optuna.storages.fail_stale_trials(self._study)
            if not self._study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
                return
            trial, points = self._study.ask(self._plan.sampled), self._plan.points
            if "number" in trial.user_attrs:
                number = trial.user_attrs["number"]
                self._trials[number] = trial
                self.send_heartbeats()
                yield TrialRecord(number, trial.params if points is None else points[number],
                                  attempts=1 + self._failures(number))
            else:  # another process took the last waiting one, so this one is new
                self._study.tell(trial, state=TrialState.FAIL)

    def _failures(self, number: int) -> int:
        """Return how often a trial was lost with its process."""
        failed = self._study.get_trials(False, [TrialState.FAIL]) if self.shared else []
        return sum(each.user_attrs.get("number") == number for each in failed)

    def report(self, record: TrialRecord, report: Report) -> bool:
        """Keep what a trial reports; return whether the pruner stops the trial."""
        trial, is_new = self._trials[record.number], report.step not in record.reports
        record.reports.setdefault(report.step, report.value)
        if is_new and self._plan.pruner:
            trial.report(report.value, report.step)
        return bool(self._plan.pruner) and trial.should_prune()

    def tell(self, record: TrialRecord) -> None:
        """Tell the study how a trial ended; doing so twice changes nothing."""
        # After missed heartbeats another process may have run the trial, and told the study.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if trial := self._trials.pop(record.number, None):
                values = record.values if record.state == FINISHED else None
                self._study.tell(trial, values, STATES[record.state])

    def send_heartbeats(self) -> None:
        """Let other processes know that the trials of this one are still running."""
        if self._storage:
            for trial in self._trials.values():
                self._storage.record_heartbeat(trial._trial_id)

    def delete(self) -> None:
        """Delete the study of a finished search from the shared storage."""
        if self._storage:
            optuna.delete_study(study_name=self._study.study_name, storage=self._storage)
