"""Differential evolution by scipy; all points of a generation are given at once."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from .plan import POPULATION, Plan, Point


def evolve(plan: Plan, losses: Callable[[list[Point]], list[float]]) -> None:
    """Ask for the losses of one generation after the other, `plan.trials` points in all.

    The rule is rand/1/bin with mutation 0.5 and crossover 0.7. The same seed and the same losses
    give the same points.
    """
    from scipy.optimize import differential_evolution  # a quarter of a second

    scales = {name: Scale(each) for name, each in plan.space.distributions.items()}

    def generation(_: Any, vectors: np.ndarray) -> list[float]:
        return losses([{name: scale.value(x) for (name, scale), x in zip(scales.items(), vector)}
                       for vector in np.atleast_2d(vectors)])

    low, high = np.array([scale.ends for scale in scales.values()]).T
    first = np.random.default_rng(plan.seed).random((POPULATION, len(scales)))
    differential_evolution(
        lambda vector: math.inf, list(zip(low, high)), strategy="rand1bin", mutation=0.5,
        recombination=0.7, maxiter=plan.trials // POPULATION - 1, init=low + first * (high - low),
        tol=0, atol=0, polish=False, updating="deferred", workers=generation, rng=plan.seed,
        integrality=[scale.whole for scale in scales.values()])


class Scale:
    """A parameter as a number between two ends: an index, a logarithm, or itself."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self._of, self._log = distribution, getattr(distribution, "log", False)
        if isinstance(distribution, CategoricalDistribution):
            self._values = distribution.choices
        elif distribution.step and not self._log:
            count = round((distribution.high - distribution.low) / distribution.step) + 1
            self._values = [distribution.low + index * distribution.step for index in range(count)]
        else:
            self._values = None
        self.whole = self._values is not None
        self.ends = (0, len(self._values) - 1) if self.whole else tuple(
            math.log(end) if self._log else end for end in (distribution.low, distribution.high))

    def value(self, x: float) -> Any:
        """Return what Optuna holds for a number."""
        if self.whole:
            return self._values[round(x)]
        value = min(max(math.exp(x) if self._log else float(x), self._of.low), self._of.high)
        return round(value) if isinstance(self._of, IntDistribution) else value
