"""What a search is going to try: its options, checked, and the points that are known beforehand."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection

from taglab.names import refusal
from taglab.search.errors import check
from taglab.search.evolution import POPULATION
from taglab.search.objective import Choices, name_of, params_at, takes_trial
from taglab.search.sampler import check_sampler
from taglab.search.space import (
    Distribution, Point, ablation, check_parameters, grid, is_storable, random_points, read_values)

SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    # Bergstra et al. (2011), Algorithms for hyper-parameter optimization.
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    # Hansen & Ostermeier (2001), Completely derandomized self-adaptation in evolution strategies.
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
}
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    # Li et al. (2020), A system for massively parallel hyperparameter tuning.
    "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    # Li et al. (2018), Hyperband: a novel bandit-based approach to hyperparameter optimization.
    "hyperband": optuna.pruners.HyperbandPruner,
    # The median stopping rule of Golovin et al. (2017), Google Vizier.
    "median": optuna.pruners.MedianPruner,
}
EXHAUSTIVE: dict[str, Callable[[Any], list[dict[str, Any]]]] = {  # every point is tried
    "grid": grid, "list": list, "ablation": ablation}
METHODS = (*EXHAUSTIVE, "random", *PRUNERS, *SAMPLERS, "evolution")
TRIALS = 30  # where nobody says how many
MAX_CONCURRENT = 4  # where nobody says how many; see benchmarks/RESULTS.md


class Plan:
    """The arguments of `search`, checked, and what follows from them.

    distributions: of the parameters, by name; empty where the points are given.
    choices: the values of the parameters of which a point holds an index.
    points: what to try, in order; None where a sampler chooses while the search runs. Evolution
        adds one generation at a time.
    asynchronous: a sampler or pruner learns from each trial once it has ended.
    ordered: a sampler or pruner learns from the trials in the order of their numbers.

    Raises SearchError for a search that cannot be run.
    """

    def __init__(
        self, train: Callable[..., Any], space: Any, method: str,
        direction: str | list[str] | None, metric: str | list[str] | None, trials: int | None,
        workers: int, seed: int, sampler: optuna.samplers.BaseSampler | None,
        pruner: optuna.pruners.BasePruner | None, max_concurrent: int = MAX_CONCURRENT,
        asynchronous: bool = False,
    ) -> None:
        self.train, self.method, self.workers, self.seed = train, method, workers, seed
        self.metrics = [metric] if isinstance(metric, str) else metric or []
        self.directions = [direction] if isinstance(direction, str) else direction or []
        self.max_concurrent = max_concurrent
        self.sampler, self.pruner = sampler, pruner
        if sampler is None and method in SAMPLERS:
            self.sampler = SAMPLERS[method](seed)
        if not pruner and method in PRUNERS:
            self.pruner = PRUNERS[method]()
        self.trials = TRIALS if trials is None else trials
        self._check_options(sampler)
        self._check_space(space)
        self.distributions: dict[str, Distribution] = {}
        self.choices: Choices = {}
        self.points: list[Point] | None = None
        if method in EXHAUSTIVE:
            self.points = self._read_points(EXHAUSTIVE[method](space))
            check(trials in (None, len(self.points)), f"trials is {trials}, but {method} has"
                  f" {len(self.points)} points and leaves none out; leave out trials")
        else:
            self._read_space(space)
            if method == "random" or method in PRUNERS:
                self.points = random_points(self.distributions, self.trials, seed)
            elif method == "evolution":
                self.points = []
        self.trials = len(self.points) if self.points else self.trials
        learns = self.points is None or self.pruner is not None
        self.asynchronous, self.ordered = learns and asynchronous, learns and not asynchronous
        self._check_order()
        if sampler is not None:
            check_sampler(sampler, self.distributions, self.choices, self.study_directions,
                          asynchronous)
        self.space = self.choices if method == "list" else space  # by parameter, as it was given

    def _check_options(self, sampler: optuna.samplers.BaseSampler | None) -> None:
        """Refuse combinations of options that no method supports."""
        method, directions = self.method, self.directions
        check(method in METHODS, f"unknown method {method!r}; known are {', '.join(METHODS)}")
        for name in self.metrics:
            check(not refusal(name), f"the metric is {name[:80]!r}. {refusal(name)}")
        shown = f"search(…, metric={self.metrics[0]!r}, " if self.metrics else "search(…, "
        check(directions, f'direction is missing, and no metric says whether more or less of it is'
              f' better: {shown}direction="minimize") or {shown}direction="maximize")')
        check(set(directions) <= {"maximize", "minimize"}
              and len(directions) == max(1, len(self.metrics)),
              f"direction is {', '.join(map(repr, directions))}; it must be maximize or minimize,"
              f" one for each metric")
        check(sampler is None or method == "tpe", "a sampler chooses the points: leave out method")
        check(len(directions) == 1 or not self.pruner and method not in ("cmaes", "evolution"),
              "pruners, cmaes and evolution optimise one metric; use tpe, random or grid for more")
        check(not self.pruner or takes_trial(self.train), f"a pruner stops trials by what they"
              f" report: give {name_of(self.train)} a parameter `trial` and call"
              f" trial.report(value, step)")
        for name in ("workers", "trials", "max_concurrent"):
            number = getattr(self, name)
            check(isinstance(number, Integral) and int(number) > 0,
                  f"{name} is {number!r}; it must be a whole number above zero")
        check(method != "evolution" or self.trials % POPULATION == 0 < self.trials - POPULATION,
              f"trials is {self.trials}; evolution needs a multiple of its population"
              f" {POPULATION}, at least {2 * POPULATION}")

    def _check_order(self) -> None:
        """Refuse what would make the points depend on more than the arguments."""
        if not self.ordered:
            return
        check(self.workers <= self.max_concurrent, f"workers is {self.workers}, but only"
              f" {self.max_concurrent} trials run at once, so that the points depend on the seed"
              f" alone; set search(…, max_concurrent={self.workers}), or"
              f" search(…, asynchronous=True) where they may differ when the search runs again")

    def _check_space(self, space: Any) -> None:
        kind, what = (list, "list of dicts") if self.method == "list" else (
            Mapping, "dict of parameters")
        check(isinstance(space, kind) and space, f"the space of method {self.method} is"
              f" {space!r:.80}; it must be a {what}, not empty")

    def _read_points(self, given: list[Any]) -> list[Point]:
        """Return the points for a list of parameters, whose values become choices."""
        points = []
        for params in given:
            check(isinstance(params, Mapping), f"{params!r:.80} is not a point; a point is a dict")
            check_parameters(self.train, params)
            for name, value in params.items():
                self.choices.setdefault(name, []).append(value)
            points.append({name: len(self.choices[name]) - 1 for name in params})
        return points

    def _read_space(self, space: Mapping[str, Any]) -> None:
        """Read the distributions from which the points are drawn."""
        check_parameters(self.train, space)
        for name, given in space.items():
            values = read_values(name, given)
            if isinstance(values, list):
                if not is_storable(values):
                    self.choices[name], values = values, list(range(len(values)))
                values = CategoricalDistribution(values)
            self.distributions[name] = values

    @property
    def sampled(self) -> dict[str, BaseDistribution]:
        """The distributions of the parameters that the sampler chooses while the search runs."""
        return {**self.distributions} if self.points is None else {}

    @property
    def study_directions(self) -> list[StudyDirection]:
        """The directions for Optuna, one for each metric."""
        return [StudyDirection[each.upper()] for each in self.directions]

    def add_points(self, points: list[Point]) -> list[int]:
        """Add the points that are new, and return the trial number of each point."""
        known = self.points = self.points or []
        for point in points:
            if point not in known:
                known.append(point)
        return [known.index(point) for point in points]

    def params(self, point: Point) -> dict[str, Any]:
        """Return the arguments of the training function at a point."""
        return params_at(point, self.choices)

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return the values of the metrics, with those to maximize negated: less is better."""
        return tuple(-value if direction == "maximize" else value
                     for value, direction in zip(values, self.directions))
