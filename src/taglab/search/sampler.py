"""Optuna's samplers: which of them can choose the points of a search."""

import copy
from collections.abc import Container, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler, BruteForceSampler, GPSampler, GridSampler, PartialFixedSampler, QMCSampler)
from optuna.study import StudyDirection

from taglab.search.errors import SearchError, check

_ASKED, _TOLD = 10, 3  # points of a rehearsal, and those of which the sampler learns


def check_sampler(
    sampler: BaseSampler, distributions: Mapping[str, BaseDistribution],
    indexed: Container[str], directions: Sequence[StudyDirection], asynchronous: bool,
) -> None:
    """Raise SearchError unless a sampler can choose points, the same ones in each search.

    indexed: the parameters whose values are indices into lists.
    asynchronous: the points may differ from search to search.
    """
    check(isinstance(sampler, BaseSampler), f"sampler is {sampler!r:.80}; it must be an object,"
          f" optuna.samplers.TPESampler(seed=0) for example")
    for part in _parts(sampler):
        _check_part(part, type(part).__name__, distributions, indexed, asynchronous)
    # The sampler that makes the draws, where another one only changes them.
    name = next(type(each).__name__ for each in _parts(sampler)
                if not isinstance(each, PartialFixedSampler))
    try:
        first, again = (_rehearse(sampler, distributions, directions) for _ in range(2))
    except Exception as error:
        raise SearchError(f"{name} cannot choose the points of this search: {error}") from None
    check(asynchronous or first == again, f"the sampler has no seed, so its points differ when the"
          f" search runs again; set {name}(seed=0), or search(…, asynchronous=True)")


def _check_part(
    part: BaseSampler, name: str, distributions: Mapping[str, BaseDistribution],
    indexed: Container[str], asynchronous: bool,
) -> None:
    """Refuse what would fail, or give wrong points, once the search runs."""
    check(not isinstance(part, (GridSampler, BruteForceSampler)), f"{name} tries every point, for"
          f' which a search needs no sampler; leave it out and set search(…, method="grid")')
    check(not isinstance(part, QMCSampler) or not asynchronous, f"{name} learns from no trial, and"
          f" would begin its sequence again when the search resumes; leave out asynchronous")
    check(getattr(part, "_constraints_func", None) is None, f"{name} has a constraints_func, which"
          f" Optuna has given up and a search does not call; leave it out, and call"
          f' trial.set_constraint("name", value) in the training function')
    check(not isinstance(part, GPSampler) or find_spec("torch"), f"{name} needs PyTorch, which is"
          f" not installed; add torch to requirements.txt")
    if isinstance(part, PartialFixedSampler):
        for fixed, value in part._fixed_params.items():
            check(fixed in distributions and fixed not in indexed, f"{name} fixes {fixed!r}, "
                  f"{'whose values are no plain ones' if fixed in indexed else 'not in the space'};"
                  f" fix it in the space: {{{fixed!r}: [{value!r:.80}]}}")


def _parts(sampler: BaseSampler) -> Iterator[BaseSampler]:
    """Yield a sampler and those to which it leaves draws."""
    yield sampler
    for value in vars(sampler).values():
        if isinstance(value, BaseSampler):
            yield from _parts(value)


def _rehearse(
    sampler: BaseSampler, distributions: Mapping[str, BaseDistribution],
    directions: Sequence[StudyDirection],
) -> list[dict[str, Any]]:
    """Return the first points that a copy of a sampler chooses, when it learns of some of them."""
    study, points = optuna.create_study(directions=directions, sampler=copy.deepcopy(sampler)), []
    for number in range(_ASKED):
        point = study.ask({**distributions}).params
        points.append(point)
        told = optuna.create_trial(
            params=point, distributions={**distributions}, values=[number] * len(directions))
        if number < _TOLD:
            study.add_trial(told)
    return points
