"""The search space: lists, ranges and distributions of parameters, and the points in it."""

import inspect
import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import optuna
from optuna.distributions import (
    CategoricalDistribution, FloatDistribution, IntDistribution)

from taglab.names import LONGEST, refusal
from taglab.search.errors import SearchError, check
from taglab.search.objective import name_of, takes_trial

Point = dict[str, Any]  # as Optuna stores it; see `Choices` in taglab.search.objective
Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
LONGEST_NAME = LONGEST - len("search.space.")  # of a parameter, which the parent run logs, too
RESERVED = ("trial", "number", "state", "value", "feasible")  # an argument, and columns of a table


def read_values(name: str, values: Any) -> list[Any] | Distribution:
    """Return the list of choices, or the distribution, that the space gives for a parameter.

    Raises SearchError unless `values` is a list with something in it, a pair of finite numbers
    of which the second is not below the first, or a distribution of Optuna with finite ends.
    """
    if isinstance(values, tuple) and len(values) == 2 and all(
            isinstance(end, Real) and not isinstance(end, bool) for end in values):
        low, high = values
        check(math.isfinite(low) and math.isfinite(high), f"{name} is {values!r:.80}; both ends of"
              f" a range must be finite")
        check(low <= high, f"{name} is {values!r:.80}; write the lower end of a range first:"
              f" ({high!r}, {low!r})")
        if isinstance(low, Integral) and isinstance(high, Integral):
            return IntDistribution(int(low), int(high))
        return FloatDistribution(float(low), float(high))
    if isinstance(values, CategoricalDistribution):
        return list(values.choices)
    if isinstance(values, (FloatDistribution, IntDistribution)):
        check(all(math.isfinite(each) for each in (values.low, values.high, values.step or 1)),
              f"{name} is {values!r:.80}; the ends and the step of a range must be finite")
        return values
    if isinstance(values, list) and values:
        return values
    raise SearchError(f"{name} is {values!r:.80}; use a list for a choice, a pair (low, high) of"
                      f" numbers for a range, or an Optuna distribution")


def grid(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all combinations of the choices; the last parameter varies fastest."""
    axes: dict[str, Iterable[Any]] = {}
    for name, given in space.items():
        values = read_values(name, given)
        if isinstance(values, IntDistribution) and not values.log:
            axes[name] = range(values.low, values.high + 1, values.step)
        elif isinstance(values, list):
            axes[name] = values
        else:
            raise SearchError(f"{name} is a range, and a grid needs a list of values:"
                              f" list(numpy.linspace(low, high, 5))")
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


def ablation(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a base with None for every parameter, then one point for each part of its list."""
    base = dict.fromkeys(space)
    points = [base]
    for name, given in space.items():
        parts = read_values(name, given)
        if not isinstance(parts, list):
            raise SearchError(f"{name} is a range, and an ablation needs the list of the parts to"
                              f" leave out")
        points += [base | {name: part} for part in parts]
    return points


def random_points(
    distributions: Mapping[str, Distribution], trials: int, seed: int
) -> list[Point]:
    """Return so many different random points; fewer where the space does not have as many.

    Random search: Bergstra & Bengio (2012), Random search for hyper-parameter optimization.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    points: dict[tuple[Any, ...], Point] = {}
    misses = 0  # draws without a new point
    while len(points) < trials and misses < 100:
        point = study.ask({**distributions}).params
        misses = misses + 1 if tuple(point.values()) in points else 0
        points.setdefault(tuple(point.values()), point)
    if len(points) < trials:  # the last points of a small space are seldom drawn
        missing = [each for each in itertools.product(*map(_values, distributions.values()))
                   if each not in points]
        random.Random(seed).shuffle(missing)
        points |= {each: dict(zip(distributions, each)) for each in missing}
    return list(points.values())[:trials]


def _values(distribution: Distribution) -> Iterable[Any]:
    """Return all values of a distribution, none where they cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    low, high, step = distribution.low, distribution.high, distribution.step
    return [low + step * number for number in range(round((high - low) / step) + 1)] if step else []


def is_storable(values: list[Any]) -> bool:
    """Return whether Optuna can store these choices and tell them apart."""
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
    return plain and len(set(values)) == len(values)


def check_parameters(train: Callable[..., Any], names: Iterable[str]) -> None:
    """Raise SearchError unless a function can be called with parameters of these names."""
    for name in names:
        check(name not in RESERVED, f"the space has a parameter {name!r}, a name that the search"
              f" uses; rename it")
        reason = refusal(name, LONGEST_NAME)
        check(not reason, f"the space has a parameter {name[:80]!r}. {reason}")
    signature = inspect.signature(train)
    try:
        signature.bind(**dict.fromkeys([*names, *["trial"] * takes_trial(train)]))
    except TypeError as error:
        raise SearchError(f"{name_of(train)}{signature} cannot be called with"
                          f" {', '.join(names)}: {error}") from None
