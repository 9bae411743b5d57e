"""Trials by Hydra's joblib launcher. Type: hydra_joblib.py --multirun key=values …"""
import json
import sys
from time import perf_counter, sleep, time

import hydra
import mlflow
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

ConfigStore.instance().store("sweep", {
    "defaults": [{"override hydra/launcher": "joblib"}, "_self_"],
    "gamma": 0, "C": 0, "seconds": 0, "parent": ""})


@hydra.main(version_base=None, config_name="sweep")
def train(config: DictConfig) -> None:
    with mlflow.start_run(parent_run_id=config.parent, nested=True):
        mlflow.log_params({"gamma": config.gamma, "C": config.C})
        sleep(config.seconds)
        mlflow.log_metric("score", time())


if __name__ == "__main__":
    with mlflow.start_run() as parent:
        sys.argv.append(f"parent={parent.info.run_id}")
        started = perf_counter()
        train()
        print(json.dumps({"seconds": perf_counter() - started}))
