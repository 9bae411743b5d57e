"""What a search will try: the space of parameters, and the points in it. Nothing runs here."""

import inspect
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution)

from .worker import name_of, takes_trial

Point = dict[str, Any]  # as Optuna holds it
SAMPLERS = {
    "tpe": optuna.samplers.TPESampler,
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
}
PRUNERS = {
    "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    "hyperband": optuna.pruners.HyperbandPruner,
    "median": optuna.pruners.MedianPruner,
}
GIVEN = ("grid", "list", "ablation")  # the space says which points, all of them
METHODS = (*GIVEN, "random", *PRUNERS, *SAMPLERS, "evolution")
TRIALS, POPULATION = 30, 6


class SearchError(ValueError):
    """A search that cannot be run; the message says why and what to do."""


@dataclass(frozen=True)
class Space:
    """The parameters: what Optuna knows of each, and the choices that it cannot hold itself."""

    distributions: dict[str, BaseDistribution]
    axes: dict[str, list[Any]]  # of choices and integers, what Optuna holds for each value
    objects: dict[str, list[Any]]  # Optuna holds the index in these

    def values(self, point: Point) -> dict[str, Any]:
        """Return what `train` gets at a point."""
        return {name: self.objects[name][held] if name in self.objects else held
                for name, held in point.items()}


@dataclass(frozen=True)
class Plan:
    """All that a search was asked to do, checked."""

    train: Callable[..., Any]
    method: str
    space: Space
    points: list[Point] | None  # None: a sampler chooses while the search runs
    trials: int
    metrics: list[str]
    directions: list[str]
    workers: int
    seed: int
    sampler: optuna.samplers.BaseSampler | None
    pruner: optuna.pruners.BasePruner | None

    def loss(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return the values so that less is better."""
        return tuple(-value if direction == "maximize" else value
                     for value, direction in zip(values, self.directions))


def make_plan(
    train: Callable[..., Any], space: Any, method: str, direction: str | list[str],
    metric: str | list[str] | None, trials: int | None, workers: int, seed: int | None,
    sampler: Any, pruner: Any,
) -> Plan:
    """Check what a search was asked to do; the arguments are those of `search`."""
    metrics = [metric] if isinstance(metric, str) else metric or []
    directions = [direction] if isinstance(direction, str) else direction
    seed = random.randrange(2**32) if seed is None else seed
    _check(method in METHODS, f"unknown method {method!r}; known are {', '.join(METHODS)}")
    _check(set(directions) <= {"maximize", "minimize"} and len(directions) == max(1, len(metrics)),
           f"direction is {direction!r}; it must be maximize or minimize, one for each metric")
    _check(sampler is None or method == "tpe", "a sampler chooses the points: leave out method")
    _check(len(directions) == 1 or method not in (*PRUNERS, "cmaes", "evolution"),
           f"{method} optimises one metric; use tpe, random or grid for several")
    _check(takes_trial(train) or method not in PRUNERS and pruner is None,
           f"trials are stopped by what they report: give {name_of(train)} a parameter `trial`"
           f" and call trial.report(value, step) in it")
    for name, number in {"workers": workers, "trials": trials}.items():
        _check(number is None or isinstance(number, Integral) and number > 0,
               f"{name} is {number!r}; it must be a whole number above zero")
    if method in PRUNERS and pruner is None:
        pruner = PRUNERS[method]()
    if method in SAMPLERS and sampler is None:
        sampler = SAMPLERS[method](seed=seed)
    known, points = _space_and_points(train, space, method, trials or TRIALS, seed)
    if method in GIVEN:
        _check(trials in (None, len(points)), f"trials is {trials}, but {method} has {len(points)}"
                                              f" points and leaves none out; leave out trials")
    count = len(points) if points is not None else trials or TRIALS
    _check(method != "evolution" or count % POPULATION == 0 and count > POPULATION,
           f"trials is {trials}; evolution needs a multiple of its population {POPULATION}, at"
           f" least {2 * POPULATION}")
    return Plan(train, method, known, points, count, metrics, directions, workers, seed, sampler,
                pruner)


def _space_and_points(
    train: Callable[..., Any], given: Any, method: str, trials: int, seed: int
) -> tuple[Space, list[Point] | None]:
    """Return the space, and its points where they are known before the search runs."""
    kind = list if method == "list" else Mapping
    _check(isinstance(given, kind) and given, f"the space of method {method} is {given!r:.80}; it"
           f" must be {'a list of dicts' if kind is list else 'a dict of parameters'}, not empty")
    if method == "ablation":
        base = dict.fromkeys(given)
        given = [base, *({**base, name: part} for name, parts in given.items() for part in parts)]
    if isinstance(given, list):
        for point in given:
            _check(isinstance(point, Mapping), f"{point!r:.80} is no point; a point is a dict")
            check_names(train, point)
        names = dict.fromkeys(itertools.chain(*given))
        space = read_space({name: [point[name] for point in given if name in point]
                            for name in names})
        columns = {name: iter(held) for name, held in space.axes.items()}
        return space, [{name: next(columns[name]) for name in point} for point in given]
    check_names(train, given)
    space = read_space(given)
    if method == "grid":
        for name in given:
            _check(name in space.axes, f"{name} is a range, and a grid needs a list of values:"
                                       f" list(numpy.linspace(low, high, 5))")
        return space, [dict(zip(given, point)) for point in itertools.product(
            *(space.axes[name] for name in given))]
    if method == "random" or method in PRUNERS:
        return space, random_points(space, trials, seed)
    return space, None


def read_space(given: Mapping[str, Any]) -> Space:
    """Return the space: a list is a choice, a pair of numbers a range, the rest is Optuna's."""
    space = Space({}, {}, {})
    for name, values in given.items():
        if isinstance(values, CategoricalDistribution):
            values = list(values.choices)
        if isinstance(values, list) and values:
            held = values
            if not _storable(values):
                held = list(range(len(values)))
                space.objects[name] = values
            space.axes[name] = held
            values = CategoricalDistribution(list(dict.fromkeys(held)))
        elif isinstance(values, tuple) and len(values) == 2 and all(
                isinstance(end, Real) and not isinstance(end, bool) for end in values):
            whole = all(isinstance(end, Integral) for end in values)
            values = (IntDistribution if whole else FloatDistribution)(min(values), max(values))
        _check(isinstance(values, BaseDistribution), f"{name} is {values!r:.80}; a list is a"
               f" choice, a pair (low, high) of numbers is a range, else an Optuna distribution")
        if isinstance(values, IntDistribution) and not values.log:
            space.axes[name] = list(range(values.low, values.high + 1, values.step))
        space.distributions[name] = values
    return space


def random_points(space: Space, trials: int, seed: int) -> list[Point]:
    """Return so many different points; fewer where the space has no more."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    points: dict[tuple[Any, ...], Point] = {}
    for _ in range(trials + 1000):
        if len(points) < trials:
            point = study.ask(space.distributions).params
            points.setdefault(tuple(point.values()), point)
    return list(points.values())


def check_names(train: Callable[..., Any], names: Iterable[str]) -> None:
    """Refuse names that a function does not take, and the lack of one that it needs."""
    takes = inspect.signature(train).parameters
    plain = [name for name, each in takes.items() if name != "trial" and each.kind in (
        each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    anything = any(each.kind is each.VAR_KEYWORD for each in takes.values())
    for name in names:
        _check(name not in ("trial", "number", "state", "value"), f"the space has a parameter"
               f" {name!r}, a name that the search uses; give it another")
        _check(anything or name in plain, f"{name_of(train)} takes no {name!r}; it takes"
                                          f" {', '.join(plain) or 'nothing'}")
    for name in set(plain) - set(names):
        _check(takes[name].default is not inspect.Parameter.empty,
               f"{name_of(train)} needs {name!r}, which the space does not have")


def _storable(values: list[Any]) -> bool:
    """Return whether Optuna can hold the choices themselves, each apart from the others."""
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
    return plain and len(set(values)) == len({(type(value), value) for value in values})


def _check(condition: Any, message: str) -> None:
    if not condition:
        raise SearchError(message)
