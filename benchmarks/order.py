"""What it costs a search that its points do not depend on which trial ends first.

    python benchmarks/order.py [quality] [schedule] [time]
"""
from __future__ import annotations

import argparse
import functools
import heapq
import math
import os
import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sklearn.datasets import load_diabetes
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import scale
from sklearn.svm import SVR
from timing import medians

from taglab.search import search
from taglab.search.order import OrderedStudy
from taglab.search.plan import Plan

SEEDS, WORKERS, FEWER, MORE = 20, 4, 30, 100
ROUNDS, TRIALS, MEAN = 3, 60, 0.2  # of the trials' lengths, in seconds

ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
              [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
P = np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
              [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]) / 1e4


def branin(x: float, y: float) -> float:
    """Dixon & Szegö (1978); its least value is 0.398."""
    return ((y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6)**2
            + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def hartmann6(a: float, b: float, c: float, d: float, e: float, f: float) -> float:
    """Dixon & Szegö (1978); its least value is -3.322."""
    point = np.array([a, b, c, d, e, f])
    return -float(ALPHA @ np.exp(-(A * (point - P)**2).sum(axis=1)))


def svm(gamma: float, C: float, epsilon: float) -> float:
    """Return the error of a support vector machine on 150 patients of the diabetes data."""
    X, y = diabetes()
    machine = SVR(gamma=gamma, C=C, epsilon=epsilon)
    errors = cross_val_score(machine, X, y, cv=3, scoring="neg_root_mean_squared_error")
    return -float(errors.mean())


@functools.cache
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_diabetes(return_X_y=True)
    return scale(X)[:150], y[:150]


SPACES: dict[Callable[..., float], dict[str, object]] = {
    branin: {"x": (-5.0, 10.0), "y": (0.0, 15.0)},
    hartmann6: dict.fromkeys("abcdef", (0.0, 1.0)),
    svm: {"gamma": FloatDistribution(1e-4, 10, log=True),
          "C": FloatDistribution(1e-2, 1e3, log=True),
          "epsilon": FloatDistribution(1e-2, 1e2, log=True)}}


@dataclass(frozen=True)
class Order:
    """A way to tell a sampler the results: with a lag of some trials, or as they come (None)."""

    lag: int | None

    def __str__(self) -> str:
        return f"max_concurrent={self.lag}" if self.lag else f"asynchronous, {WORKERS} workers"


ORDERS = [Order(1), Order(4), Order(8), Order(None)]


def values(function: Callable[..., float], order: Order, seed: int) -> list[float]:
    """Return the values of the points that TPE chooses, by trial number."""
    sampler = optuna.samplers.TPESampler(seed=seed)
    plan = Plan(function, SPACES[function], "tpe", "minimize", None, MORE, 1, seed, sampler, None,
                order.lag or 1)
    return in_order(plan) if order.lag else as_they_come(plan, sampler)


def in_order(plan: Plan) -> list[float]:
    study, ended = OrderedStudy(plan), {}
    for number in range(MORE):
        value = plan.train(**study.params(number, ended))
        ended[number] = optuna.create_trial(state=TrialState.COMPLETE, value=value)
    return [trial.value for trial in ended.values()]


def as_they_come(plan: Plan, sampler: optuna.samplers.BaseSampler) -> list[float]:
    """Workers take trials whose lengths are exponentially distributed, on a clock of their own."""
    study, lengths = optuna.create_study(sampler=sampler), random.Random(plan.seed)
    running: list[tuple[float, int, optuna.Trial]] = []
    now = 0.0
    for number in range(MORE):
        if len(running) == WORKERS:
            now, _, trial = heapq.heappop(running)
            study.tell(trial, plan.train(**trial.params))
        heapq.heappush(running, (now + lengths.expovariate(1), number, study.ask(plan.sampled)))
    for _, _, trial in running:
        study.tell(trial, plan.train(**trial.params))
    return [trial.value for trial in study.trials]


def quality() -> None:
    """The best value after some trials: the mean over seeds, and its standard error."""
    for function in SPACES:
        found = {order: [values(function, order, seed) for seed in range(SEEDS)]
                 for order in ORDERS}
        for trials in (FEWER, MORE):
            for order, each in found.items():
                best = [min(one[:trials]) for one in each]
                error = statistics.stdev(best) / math.sqrt(SEEDS)
                print(f"{function.__name__}, best of {trials}, {order}: "
                      f"{statistics.mean(best):.4f} ± {error:.4f}", flush=True)


def schedule() -> None:
    """Rates that follow from the lengths of trials alone, on a clock of their own."""
    draws = {"0.5 to 1.5": lambda random: random.uniform(0.5, 1.5),
             "0 to 2": lambda random: random.uniform(0, 2),
             "exponential": lambda random: random.expovariate(1)}
    for name, draw in draws.items():
        lengths = [[draw(source) for _ in range(TRIALS)]
                   for source in map(random.Random, range(200))]
        for order in ORDERS[1:]:
            rate = statistics.mean(duration(each, None) / duration(each, order.lag)
                                   for each in lengths)
            print(f"trials of length {name}, {WORKERS} workers, {order}: {rate:.2f} times the "
                  f"asynchronous rate")


def duration(lengths: list[float], lag: int | None) -> float:
    """Return when the last trial ends."""
    free, ended = [0.0] * WORKERS, [0.0]  # ended: trials up to each one
    for number, length in enumerate(lengths):
        start = heapq.heappop(free)
        if lag and number >= lag:
            start = max(start, ended[number - lag + 1])
        heapq.heappush(free, start + length)
        ended.append(max(ended[-1], start + length))
    return ended[-1]


def time() -> None:
    """Time of searches with trials of random length, on several workers."""
    def train(x: float) -> float:
        sleep(random.expovariate(1 / MEAN))
        return x

    def seconds(**more: object) -> float:
        started = perf_counter()
        search(train, {"x": (0.0, 1.0)}, direction="minimize", method="tpe", trials=TRIALS,
               workers=WORKERS, seed=0, **more)
        return perf_counter() - started

    orders = {str(order): functools.partial(seconds, **(
        {"max_concurrent": order.lag} if order.lag else {"asynchronous": True}))
        for order in ORDERS if order.lag != 1}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
                       "MLFLOW_EXPERIMENT_NAME": "benchmark", "LAB_ROOT": folder,
                       "LAB_STATE": f"{folder}/state", "MLFLOW_DISABLE_TELEMETRY": "true"}
        found = medians(orders, ROUNDS)
    for name, each in found.items():
        print(f"{TRIALS} trials of {MEAN} s on average, {WORKERS} workers, {name}: {each:.1f} s, "
              f"{found[str(Order(None))] / each:.2f} times the asynchronous rate")


def main() -> None:
    """Print the lines of the parts that were asked for."""
    parts = {"quality": quality, "schedule": schedule, "time": time}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", choices=[[], *parts],
                        help=f"{', '.join(parts)}; all when none is named")
    for name in parser.parse_args().parts or parts:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parts[name]()


if __name__ == "__main__":
    main()
