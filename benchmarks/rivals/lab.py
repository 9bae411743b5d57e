"""The lab's side: lab.py PART, with the arguments of the function PART

    rates TRIALS SECONDS WORKERS | page TRIALS | reports PRUNER | stopping ORDER | kills
"""
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path
from time import sleep, time

from taglab.search import search
from taglab.tracking import start_run

import mlflow
from batches import STEPS, TRIALS, WORKERS, step
from optuna.pruners import MedianPruner, NopPruner

POINTS, REPEATS = 110, 20


def rates(trials: str, seconds: str, workers: str) -> dict[str, float]:
    """Search once; the metric is the time of day, and so tells when each trial ended."""
    def train(gamma: float, C: float) -> float:
        sleep(float(seconds))
        return time()

    started = time()
    result = search(train, {"gamma": (0.001, 1.0), "C": (1.0, 100.0)}, direction="minimize",
                    method="random", trials=int(trials), workers=int(workers), seed=0)
    returned, ended = time(), sorted(result.trials["value"])
    return {"seconds": returned - started, "start": ended[0] - float(seconds) - started,
            "end": returned - ended[-1], "each": (ended[-1] - ended[0]) / (len(ended) - 1),
            "first 100": (ended[99] - ended[0]) / 99, "last 100": (ended[-1] - ended[-100]) / 99}


def page(trials: str) -> dict[str, float]:
    """Search, then look at the first 100 nested runs and at the best ones, as MLflow's UI does."""
    figures = rates(trials, "0", "2")
    client, [experiment] = mlflow.MlflowClient(), mlflow.search_experiments(
        filter_string="name = 'benchmark'")
    for name, order in (("newest", "attributes.start_time DESC"), ("best", "metrics.value ASC")):
        started = time()
        found = client.search_runs([experiment.experiment_id], "tags.trial != ''", max_results=100,
                                   order_by=[order])
        figures[name] = time() - started
        assert len(found) == 100
    return figures


def reports(pruner: str) -> dict[str, float]:
    """Search with 8 workers; the metric is how long 30 reports of a trial take."""
    def train(x: int, trial) -> float:
        started = time()
        for number in range(30):
            trial.report(x, number)
        return time() - started

    result = search(train, {"x": list(range(80))}, direction="minimize", method="grid", workers=8,
                    max_concurrent=8, pruner=NopPruner() if pruner == "pruner" else None)
    return {"seconds": float(result.trials["value"].median())}


def stopping(order: str) -> dict[str, float]:
    """Search the trials of `batches` with a pruner, in order or asynchronously."""
    def train(index: int, trial) -> float:
        for number in range(STEPS):
            reached = step(index, number)
            trial.report(reached, number)
        return reached

    started = time()
    result = search(train, {"index": list(range(TRIALS))}, direction="maximize", method="grid",
                    workers=WORKERS, max_concurrent=WORKERS, pruner=MedianPruner(),
                    asynchronous=order == "asynchronous")
    return {"seconds": time() - started, "best": result.best_params["index"],
            "stopped": int((result.trials["state"] == "KILLED").sum())}


def kills() -> dict[str, int]:
    """Search the same points again and again, each time with a worker killed; count what is wrong.

    Wrong is a search whose nested runs are not one finished run for each point.
    """
    wrong, hit = 0, 0
    for number in range(REPEATS):
        with mlflow.start_run(nested=True) as parent:
            search_with_a_kill(Path.cwd() / f"begun-{number}", f"kills {number}")
        runs = mlflow.search_runs(
            filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
            output_format="list")
        ended = sorted((int(run.data.params["index"]), run.info.status) for run in runs)
        wrong += ended != [(index, "FINISHED") for index in range(POINTS)]
        hit += any(run.data.tags.get("attempts") == "2" for run in runs)
    return {"wrong": wrong, "hit": hit, "repeats": REPEATS}


def search_with_a_kill(begun: Path, name: str) -> None:
    """Search each point with 4 workers, and kill the one that begins some trial in the middle."""
    def train(index: int) -> float:
        with begun.open("a") as file:
            file.write(f"{os.getpid()}\n")
        sleep(0.02)
        return index

    def kill() -> None:
        victim, workers = random.randrange(1, POINTS - 10), []
        while len(workers) < victim:
            sleep(0.002)
            workers = begun.read_text().split() if begun.exists() else []
        os.kill(int(workers[-1]), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    search(train, {"index": list(range(POINTS))}, direction="maximize", method="grid", workers=4,
           name=name)
    killer.join()


if __name__ == "__main__":
    parts = {"rates": rates, "page": page, "reports": reports, "stopping": stopping, "kills": kills}
    with start_run(__file__, {}):
        figures = parts[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(figures))
