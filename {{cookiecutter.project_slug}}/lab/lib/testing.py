"""For tests: a process run for real, as a pipeline step runs it, against a store of its own."""

import os
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from .store import sqlite_uri
from .summary import PARENT, find_runs

EXPERIMENT = "test"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process whose results go to a SQLite file in `folder`."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "DRONE_"))}
    return {**kept, "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "MLFLOW_TRACKING_URI": store_in(folder), "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_EXPERIMENT_NAME": EXPERIMENT, **more}


def store_in(folder: Path) -> str:
    """Return the address of the store in a folder."""
    return sqlite_uri(folder / "mlflow.db")


def run_python(*arguments: object, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with the store there and return how it ended and what it printed."""
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, text=True,
                          capture_output=True, env=environment(folder, **more))


def runs_in(folder: Path) -> tuple[MlflowClient, list[Run], list[Run]]:
    """Return the client of the store in a folder, its parent runs and its nested runs."""
    client = MlflowClient(store_in(folder))
    runs = find_runs(client, EXPERIMENT)
    return (client, [run for run in runs if PARENT not in run.data.tags],
            [run for run in runs if PARENT in run.data.tags])


def artifacts(client: MlflowClient, run: Run) -> set[str]:
    """Return the names of a run's artifacts."""
    return {item.path for item in client.list_artifacts(run.info.run_id)}
