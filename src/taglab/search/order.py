"""Optuna's sampler and pruner, told how trials ended in the order of the trials' numbers.

So the points of a search do not depend on which trial happens to end first.
"""

import contextlib
import copy
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from taglab.search.plan import Plan


class OrderedStudy:
    """Chooses points and prunes trials by what the trials before them came to.

    Trial n knows trials 0 to n - max_concurrent, no more and no fewer: its point is drawn once
    they have ended, while all later ones are running as far as the sampler knows, and the pruner
    compares it with them alone. Everything else follows from the seed, so a process that begins
    later, or again, repeats the same draws and comes to the same points.

    The trials that have ended, by number, are Optuna's: with a state, values and reports.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._storage = plan, _Storage()
        self._study = optuna.create_study(
            storage=self._storage, study_name=f"seed {plan.seed}",  # chooses Hyperband's brackets
            directions=plan.study_directions,
            sampler=copy.deepcopy(plan.sampler) or optuna.samplers.RandomSampler(plan.seed))
        self._trials: list[optuna.Trial] = []
        self._reports: list[dict[int, float]] = []  # of each trial, by step
        self._told = 0  # trials

    def can_start(self, number: int, ended: Container[int]) -> bool:
        """Return whether all trials that this one has to know have ended."""
        known = range(self._told, number - self._plan.max_concurrent + 1)
        return all(each in ended for each in known)

    def params(self, number: int, ended: Mapping[int, FrozenTrial]) -> dict[str, Any]:
        """Return the parameters that the sampler chooses for a trial that can start."""
        while len(self._trials) <= number:
            for known in range(self._told, len(self._trials) - self._plan.max_concurrent + 1):
                self._tell(ended[known])
            self._trials.append(self._study.ask(self._plan.sampled))
            self._reports.append({})
        return self._trials[number].params

    def report(self, number: int, value: float, step: int) -> bool:
        """Return whether the pruner stops a trial that has started, at its next report."""
        if self._plan.pruner is None:
            return False
        reports = self._reports[number]
        reports[step] = value
        trial = copy.copy(self._storage.get_trial(self._trials[number]._trial_id))
        trial.intermediate_values = reports
        # A pruner may keep what it has seen, so each decision has a new one.
        with self._storage.seen_by(number, number - self._plan.max_concurrent):
            return copy.deepcopy(self._plan.pruner).prune(self._study, trial)

    def _tell(self, ended: FrozenTrial) -> None:
        """Tell the sampler the next trial; repeat for the pruner what it reported elsewhere."""
        trial, known = self._trials[self._told], {*self._reports[self._told]}
        if self._plan.pruner:
            for step, value in ended.intermediate_values.items():
                if step not in known:
                    self.report(self._told, value, step)
                trial.report(value, step)
        for name, limit in ended.constraints.items():
            trial.set_constraint(name, limit)
        complete = ended.state == TrialState.COMPLETE
        self._study.tell(trial, ended.values if complete else None, ended.state)
        self._told += 1


class _Storage(optuna.storages.InMemoryStorage):
    """Trials in memory, of which a pruner can be shown only some."""

    _is_shown: Callable[[int], bool] | None = None

    @contextlib.contextmanager
    def seen_by(self, number: int, last: int) -> Iterator[None]:
        """Show only a trial itself and the trials up to `last`."""
        self._is_shown = lambda each: each <= last or each == number
        try:
            yield
        finally:
            self._is_shown = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study that are shown."""
        trials = super().get_all_trials(study_id, deepcopy, states)
        return [each for each in trials if self._is_shown is None or self._is_shown(each.number)]
