"""Trials of uneven length in synchronous batches, not stopped early and not tracked."""
import json
import math
from concurrent.futures import ProcessPoolExecutor
from random import Random
from time import perf_counter, sleep

TRIALS, WORKERS, STEPS = 100, 10, 20


def train(index: int) -> float:
    """Take every step of a trial."""
    return [step(index, number) for number in range(STEPS)][-1]


def step(index: int, number: int) -> float:
    """Take one step and return what the trial has reached: it grows, with noise."""
    sleep(Random(index).uniform(0.3, 1.5) / STEPS)
    noise = Random(f"{index} {number}").gauss(0, 0.02)
    return Random(f"best {index}").random() - math.exp(-(number + 1) / 4) + noise


if __name__ == "__main__":
    with ProcessPoolExecutor(WORKERS) as pool:
        started = perf_counter()
        reached = [each for first in range(0, TRIALS, WORKERS)
                   for each in list(pool.map(train, range(first, first + WORKERS)))]
        seconds = perf_counter() - started
    print(json.dumps({"seconds": seconds, "best": reached.index(max(reached))}))
