"""Trials by Optuna with its MLflow callback. Type: optuna_callback.py TRIALS SECONDS THREADS"""
import json
import sys
from time import perf_counter, sleep, time

import mlflow
import optuna
from optuna_integration import MLflowCallback

TRIALS, SECONDS, THREADS = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])


def train(trial: optuna.Trial) -> float:
    trial.suggest_float("gamma", 0.001, 1)
    trial.suggest_float("C", 1, 100)
    sleep(SECONDS)
    return time()


optuna.logging.set_verbosity(optuna.logging.WARNING)
with mlflow.start_run() as parent:
    # The parent as a tag, because the threads of Optuna know no active run.
    callback = MLflowCallback(metric_name="score", create_experiment=False, mlflow_kwargs={
        "nested": True, "tags": {"mlflow.parentRunId": parent.info.run_id}})
    started = perf_counter()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    study.optimize(train, n_trials=TRIALS, n_jobs=THREADS, callbacks=[callback])
    print(json.dumps({"seconds": perf_counter() - started}))
