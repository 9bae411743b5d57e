"""The queue of waiting trials, kept in an Optuna study that several processes can share."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from taglab.search.journal import STATES, TrialRecord
from taglab.search.messages import FAILED, FINISHED, Report
from taglab.search.order import OrderedStudy
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess
from taglab.search.space import Point

HEARTBEAT = 10  # seconds between two heartbeats of a trial; after six it is given to another
POLL = 1.0  # seconds between two looks at what other processes have done


class TrialQueue:
    """Hands out each waiting trial once.

    shared: whether the study is in a storage that other processes use, too.
    must_wait: whether trials are left that cannot start before others have ended.
    """

    def __init__(self, plan: Plan, process: SearchProcess, identity: str) -> None:
        self._plan, self._process = plan, process
        self._trials: dict[int, optuna.Trial] = {}  # running in this process
        self._storage = optuna.storages.RDBStorage(
            process.storage, heartbeat_interval=HEARTBEAT, grace_period=6 * HEARTBEAT,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(1)
        ) if process.storage else None
        self.shared, self.must_wait = self._storage is not None, False
        self._next_look = 0.0  # when a trial may have become free to start, in monotonic seconds
        self._order = OrderedStudy(plan) if plan.ordered else None
        adaptive = plan.sampler if not self._order else None
        self._study = optuna.create_study(
            storage=self._storage, study_name=identity, load_if_exists=True,
            directions=plan.study_directions,
            sampler=adaptive or optuna.samplers.RandomSampler(plan.seed),
            pruner=plan.pruner or optuna.pruners.NopPruner())

    def fill(self, trials: int, ended: Mapping[int, TrialRecord]) -> None:
        """Enqueue this process's trials with numbers below `trials`, unless they have ended."""
        self._next_look = 0
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

    def ask(self) -> TrialRecord | None:
        """Return a waiting trial that can start, the one with the lowest number, or None."""
        if time.monotonic() < self._next_look:
            return None
        if self.shared:
            optuna.storages.fail_stale_trials(self._study)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        record = None
        if waiting:
            record = self._ask_in_order(waiting) if self._order else self._ask_any()
        self.must_wait = record is None and bool(waiting)
        if record is None:
            self._next_look = time.monotonic() + POLL if self.shared else math.inf
        return record

    def _ask_in_order(self, waiting: list[FrozenTrial]) -> TrialRecord | None:
        """Return the first waiting trial that can start and that no other process takes."""
        assert self._order
        ended = self._ended()
        for trial in sorted(waiting, key=lambda each: each.user_attrs["number"]):
            number = trial.user_attrs["number"]
            if not self._order.can_start(number, ended):
                return None
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                if self._study._storage.set_trial_state_values(
                        trial._trial_id, TrialState.RUNNING):
                    params = self._order.params(number, ended)
                    return self._start(optuna.Trial(self._study, trial._trial_id), number, params)
        return None

    def _ask_any(self) -> TrialRecord | None:
        """Return some waiting trial; the sampler knows all that have ended by now."""
        trial = self._study.ask(self._plan.sampled)
        if "number" in trial.user_attrs:
            return self._start(trial, trial.user_attrs["number"], trial.params)
        # Another process took the last waiting one, so this one is new.
        self._study.tell(trial, state=TrialState.FAIL)
        return None

    def _start(self, trial: optuna.Trial, number: int, params: Point) -> TrialRecord:
        """Return the record of a trial that this process is going to run."""
        self._trials[number], points = trial, self._plan.points
        self.send_heartbeats()
        return TrialRecord(number, params if points is None else points[number],
                           attempts=1 + self._lost()[number])

    def _ended(self) -> dict[int, FrozenTrial]:
        """Return the trials that have ended, by number, those that were lost twice included."""
        lost, ended = self._lost(), self._study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        return {each.user_attrs["number"]: each for each in ended
                if not _is_lost(each) or lost[each.user_attrs["number"]] > 1}

    def lost_twice(self) -> list[TrialRecord]:
        """Return the trials that no process runs again, since two that ran them died."""
        ended, points = self._ended(), self._plan.points
        lost = sorted((number, trial) for number, trial in ended.items() if _is_lost(trial))
        return [TrialRecord(number, points[number] if points is not None else
                            self._order.params(number, ended) if self._order else trial.params,
                            attempts=2) for number, trial in lost]

    def _lost(self) -> Counter[int]:
        """Return how often each trial was lost with its process."""
        failed = self._study.get_trials(False, (TrialState.FAIL,)) if self.shared else []
        return Counter(each.user_attrs["number"] for each in failed if _is_lost(each))

    def report(self, record: TrialRecord, report: Report) -> bool:
        """Keep what a trial reports; return whether the pruner stops the trial.

        A step that was reported before changes nothing.
        """
        if report.step in record.reports:
            return False
        record.reports[report.step] = report.value
        trial = self._trials[record.number]
        trial.report(report.value, report.step)
        if self._order:
            return self._order.report(record.number, report.value, report.step)
        return trial.should_prune()

    def tell(self, record: TrialRecord) -> None:
        """Tell the study how a trial ended; doing so twice changes nothing."""
        self._next_look = 0
        # After missed heartbeats another process may have run the trial, and told the study.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if trial := self._trials.pop(record.number, None):
                if record.state == FAILED:  # and is not lost, as Optuna says by the same state
                    trial.set_user_attr("ended", True)
                for name, value in record.constraints.items():
                    trial.set_constraint(name, value)
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


def _is_lost(trial: FrozenTrial) -> bool:
    """Return whether a trial failed because its process died, and not the function."""
    marks = trial.user_attrs.keys()
    return trial.state == TrialState.FAIL and "number" in marks and "ended" not in marks
