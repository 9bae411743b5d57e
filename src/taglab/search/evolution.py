"""Differential evolution: generations of points, each bred from the one before.

Storn & Price (1997), Differential evolution: a simple and efficient heuristic for global
optimization over continuous spaces.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, IntDistribution

from taglab.search.space import Distribution, Point

POPULATION = 6  # points in a generation


def evolve(
    distributions: Mapping[str, Distribution], trials: int, seed: int,
    losses: Callable[[list[Point]], list[float]],
) -> None:
    """Call `losses` with one generation after another, `trials` points in all.

    The variant is rand/1/bin with mutation 0.5 and crossover 0.7, as scipy implements it. The
    same seed and the same losses give the same points.

    trials: a multiple of POPULATION.
    losses: returns the loss of each point, infinite where its trial failed.
    """
    from scipy.optimize import differential_evolution  # takes a quarter of a second to import

    def generation(_: Any, vectors: np.ndarray) -> list[float]:
        return losses([{name: value_at(x, each)
                        for (name, each), x in zip(distributions.items(), vector)}
                       for vector in np.atleast_2d(vectors)])

    size = len(distributions)
    differential_evolution(
        lambda vector: math.inf, [(0, 1)] * size, strategy="rand1bin", mutation=0.5,
        recombination=0.7, maxiter=trials // POPULATION - 1, tol=0, atol=0, polish=False,
        init=np.random.default_rng(seed).random((POPULATION, size)),
        updating="deferred", workers=generation, rng=seed)


def value_at(x: float, of: Distribution) -> Any:
    """Return the value at x in [0, 1], where 0 is the first value and 1 the last one."""
    if isinstance(of, CategoricalDistribution):
        return of.choices[min(int(x * len(of.choices)), len(of.choices) - 1)]
    if of.step and not of.log:
        last = round((of.high - of.low) / of.step)
        return of.low + of.step * min(int(x * (last + 1)), last)
    value = of.low * (of.high / of.low) ** x if of.log else of.low + x * (of.high - of.low)
    value = float(min(max(value, of.low), of.high))
    return round(value) if isinstance(of, IntDistribution) else value
