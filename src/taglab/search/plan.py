"""What a search will try: the space of parameters, and the points in it."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution)

from taglab.search.worker import Choices, name_of, params_at, takes_trial

Point = dict[str, Any]  # as Optuna holds it
SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
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


class Plan:
    """All that a search was asked to do, checked; the arguments are those of `search`."""

    def __init__(
        self, train: Callable[..., Any], space: Any, method: str, direction: str | list[str],
        metric: str | list[str] | None, trials: int | None, workers: int, seed: int,
        sampler: optuna.samplers.BaseSampler | None, pruner: optuna.pruners.BasePruner | None,
    ) -> None:
        self.train, self.method, self.workers, self.seed = train, method, workers, seed
        self.metrics = [metric] if isinstance(metric, str) else metric or []
        self.directions = [direction] if isinstance(direction, str) else direction
        self.sampler = sampler or SAMPLERS.get(method, lambda seed: None)(seed)
        self.pruner = pruner or PRUNERS.get(method, lambda: None)()
        self.trials = TRIALS if trials is None else trials
        self._check_options(sampler)
        # Of each parameter the distribution, or the choices of which a point holds the index.
        self.distributions: dict[str, BaseDistribution] = {}
        self.choices: Choices = {}
        # None: a sampler chooses while the search runs; evolution adds a generation at a time.
        self.points: list[Point] | None = [] if method == "evolution" else None
        kind = list if method == "list" else Mapping
        _check(isinstance(space, kind) and space, f"the space of method {method} is {space!r:.80};"
               f" it must be {'a list of dicts' if kind is list else 'a dict of parameters'}, not"
               f" empty")
        if method in GIVEN:
            self._take_points({"grid": grid, "ablation": ablation, "list": list}[method](space))
            _check(trials in (None, len(self.points)), f"trials is {trials}, but {method} has"
                   f" {len(self.points)} points and leaves none out; leave out trials")
        else:
            self._read_space(space)
        self.trials = len(self.points) if self.points else self.trials
        self.space = self.choices if method == "list" else space  # by name, as it was given

    def _check_options(self, sampler: optuna.samplers.BaseSampler | None) -> None:
        """Refuse what the methods cannot do."""
        method, directions = self.method, self.directions
        _check(method in METHODS, f"unknown method {method!r}; known are {', '.join(METHODS)}")
        _check(set(directions) <= {"maximize", "minimize"}
               and len(directions) == max(1, len(self.metrics)),
               f"direction is {', '.join(map(repr, directions))}; it must be maximize or minimize,"
               f" one for each metric")
        _check(sampler is None or method == "tpe", "a sampler chooses the points: leave out method")
        _check(len(directions) == 1 or not self.pruner and method not in ("cmaes", "evolution"),
               "pruners, cmaes and evolution look at one metric; use tpe, random or grid for more")
        _check(not self.pruner or takes_trial(self.train), f"trials are stopped by what they"
               f" report: give {name_of(self.train)} a parameter `trial` and call"
               f" trial.report(value, step)")
        for name in ("workers", "trials"):
            number = getattr(self, name)
            _check(isinstance(number, Integral) and number > 0,
                   f"{name} is {number!r}; it must be a whole number above zero")
        _check(method != "evolution" or self.trials % POPULATION == 0 < self.trials - POPULATION,
               f"trials is {self.trials}; evolution needs a multiple of its population"
               f" {POPULATION}, at least {2 * POPULATION}")

    def _take_points(self, points: list[Any]) -> None:
        """Take points as they are given."""
        self.points = []
        for point in points:
            _check(isinstance(point, Mapping), f"{point!r:.80} is no point; a point is a dict")
            check_names(self.train, point)
            for name, value in point.items():
                self.choices.setdefault(name, []).append(value)
            self.points.append({name: len(self.choices[name]) - 1 for name in point})

    def _read_space(self, space: Mapping[str, Any]) -> None:
        """Read what Optuna chooses from, and draw random points."""
        check_names(self.train, space)
        for name, values in space.items():
            values = read_values(name, values)
            if isinstance(values, list):
                if not _storable(values):
                    self.choices[name], values = values, range(len(values))
                values = CategoricalDistribution(values)
            self.distributions[name] = values
        if self.method == "random" or self.method in PRUNERS:
            self.points = random_points(self.distributions, self.trials, self.seed)

    @property
    def asked(self) -> dict[str, BaseDistribution]:
        """The distributions of the parameters for which the sampler is asked."""
        return self.distributions if self.points is None else {}

    def params(self, point: Point) -> dict[str, Any]:
        """Return what `train` gets at a point."""
        return params_at(point, self.choices)

    def loss(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return the values so that less is better."""
        return tuple(-value if direction == "maximize" else value
                     for value, direction in zip(values, self.directions))


def read_values(name: str, values: Any) -> list[Any] | BaseDistribution:
    """Return the choices or the distribution for which a list, a pair or a distribution stands."""
    if isinstance(values, tuple) and len(values) == 2 and all(
            isinstance(end, Real) and not isinstance(end, bool) for end in values):
        whole = all(isinstance(end, Integral) for end in values)
        return (IntDistribution if whole else FloatDistribution)(min(values), max(values))
    if isinstance(values, CategoricalDistribution):
        return list(values.choices)
    _check(isinstance(values, BaseDistribution) or isinstance(values, list) and values,
           f"{name} is {values!r:.80}; a list is a choice, a pair (low, high) of numbers is a"
           f" range, else an Optuna distribution")
    return values


def grid(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all combinations, the last key fastest."""
    axes = {}
    for name, values in space.items():
        values = read_values(name, values)
        if isinstance(values, IntDistribution) and not values.log:
            values = range(values.low, values.high + 1, values.step)
        _check(not isinstance(values, BaseDistribution), f"{name} is a range, and a grid needs a"
               f" list of values: list(numpy.linspace(low, high, 5))")
        axes[name] = values
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


def ablation(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a base with None for each key, and one point for each part."""
    base = dict.fromkeys(space)
    return [base, *(base | {name: part} for name, parts in space.items() for part in parts)]


def random_points(
    distributions: dict[str, BaseDistribution], trials: int, seed: int
) -> list[Point]:
    """Return so many different points; fewer where the space has no more."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    points: dict[tuple[Any, ...], Point] = {}
    for _ in range(trials + 1000):
        if len(points) < trials:
            point = study.ask(distributions).params
            points.setdefault(tuple(point.values()), point)
    return list(points.values())


def evolve(plan: Plan, losses: Callable[[list[Point]], list[float]]) -> None:
    """Ask for the losses of one generation after the other, `plan.trials` points in all.

    It is scipy's differential evolution by the rule rand/1/bin with mutation 0.5 and crossover
    0.7. The same seed and the same losses give the same points.
    """
    from scipy.optimize import differential_evolution  # a quarter of a second

    def generation(_: Any, vectors: np.ndarray) -> list[float]:
        return losses([{name: value_at(x, each)
                        for (name, each), x in zip(plan.distributions.items(), vector)}
                       for vector in np.atleast_2d(vectors)])

    size = len(plan.distributions)
    differential_evolution(
        lambda vector: math.inf, [(0, 1)] * size, strategy="rand1bin", mutation=0.5,
        recombination=0.7, maxiter=plan.trials // POPULATION - 1, tol=0, atol=0, polish=False,
        init=np.random.default_rng(plan.seed).random((POPULATION, size)),
        updating="deferred", workers=generation, rng=plan.seed)


def value_at(x: float, of: BaseDistribution) -> Any:
    """Return the value that lies at x, from 0 to 1, between the first and the last one."""
    if isinstance(of, CategoricalDistribution):
        return of.choices[min(int(x * len(of.choices)), len(of.choices) - 1)]
    if of.step and not of.log:
        last = round((of.high - of.low) / of.step)
        return of.low + of.step * min(int(x * (last + 1)), last)
    value = of.low * (of.high / of.low) ** x if of.log else of.low + x * (of.high - of.low)
    value = float(min(max(value, of.low), of.high))
    return round(value) if isinstance(of, IntDistribution) else value


def check_names(train: Callable[..., Any], names: Iterable[str]) -> None:
    """Refuse names that a function does not take, and the lack of one that it needs."""
    for name in names:
        _check(name not in ("trial", "number", "state", "value"), f"the space has a parameter"
               f" {name!r}, a name that the search uses; give it another")
    signature = inspect.signature(train)
    try:
        signature.bind(**dict.fromkeys([*names, *["trial"] * takes_trial(train)]))
    except TypeError as error:
        raise SearchError(f"{name_of(train)}{signature} cannot be called with"
                          f" {', '.join(names)}: {error}") from None


def _storable(values: list[Any]) -> bool:
    """Return whether Optuna can hold the choices themselves, each apart from the others."""
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
    return plain and len(set(values)) == len(values)


def _check(condition: Any, message: str) -> None:
    if not condition:
        raise SearchError(message)
