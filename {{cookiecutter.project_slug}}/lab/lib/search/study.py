"""The study in which Optuna holds the trials of a search."""

from collections.abc import Container, Iterable, Iterator

import optuna
from optuna.trial import TrialState

from .journal import Record
from .plan import Plan, Point
from .worker import FAILED, FINISHED, PRUNED

STATES = {FINISHED: TrialState.COMPLETE, FAILED: TrialState.FAIL, PRUNED: TrialState.PRUNED}


def make_study(plan: Plan, ended: Iterable[Record]) -> optuna.Study:
    """Return a study that knows of the trials that have ended."""
    study = optuna.create_study(directions=plan.directions, sampler=plan.sampler,
                                pruner=plan.pruner)
    for record in ended:
        study.add_trial(optuna.create_trial(
            state=STATES[record.state], values=record.values if record.state == FINISHED else None,
            params=record.point, intermediate_values=record.reports,
            distributions={name: plan.space.distributions[name] for name in record.point}))
    if study.trials:
        study.sampler.reseed_rng()  # or it would ask for its first points again
    return study


def asked(
    plan: Plan, study: optuna.Study, ended: Container[int],
    points: Iterable[tuple[int, Point | None]],
) -> Iterator[tuple[int, optuna.Trial]]:
    """Yield the number and trial of each point that has not ended; for None the sampler asks."""
    for number, point in points:
        if number in ended:
            continue
        if point is not None:
            study.enqueue_trial(point)
        yield number, study.ask({name: plan.space.distributions[name]
                                 for name in point or plan.space.distributions})
