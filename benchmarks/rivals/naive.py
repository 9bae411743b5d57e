"""Trials as a loop of nested MLflow runs. Type: naive.py TRIALS SECONDS"""
import json
import random
import sys
from time import perf_counter, sleep, time

import mlflow

TRIALS, SECONDS = int(sys.argv[1]), float(sys.argv[2])

with mlflow.start_run():
    started = perf_counter()
    for _ in range(TRIALS):
        with mlflow.start_run(nested=True):
            mlflow.log_params({"gamma": random.uniform(0.001, 1), "C": random.uniform(1, 100)})
            sleep(SECONDS)
            mlflow.log_metric("score", time())
    print(json.dumps({"seconds": perf_counter() - started}))
