"""For a lab's tests: run a process for real, as a pipeline step does, with a store of its own.

`pytest_plugins = ["taglab.testing"]` in the lab's conftest.py provides the fixture `own_store`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from taglab.ci import is_engine_variable
from taglab.lab import find_lab
from taglab.tracking.store import prepare, sqlite_uri
from taglab.tracking.summary import PARENT, find_runs

EXPERIMENT = "test"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process whose results go to a SQLite file in `folder`.

    It is this process's own without the variables of MLflow and of an engine, plus `more`.
    """
    kept = {name: value for name, value in os.environ.items()
            if not (name.startswith("MLFLOW_") or is_engine_variable(name))}
    lab = find_lab(Path.cwd())
    path = [lab / "lab"] if lab else []
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, [*path, Path(__file__).parents[1]])),
            "MLFLOW_TRACKING_URI": store_in(folder), "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_EXPERIMENT_NAME": EXPERIMENT, **more}


def store_in(folder: Path) -> str:
    """Return the tracking URI of the store in a folder."""
    return sqlite_uri(folder / "mlflow.db")


def run_python(*arguments: object, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with the store there, whatever its exit status; capture its output."""
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, text=True,
                          capture_output=True, env=environment(folder, **more))


def runs_in(folder: Path) -> tuple[MlflowClient, list[Run], list[Run]]:
    """Return a client of the store in a folder, its parent runs and its nested runs."""
    client = MlflowClient(store_in(folder))
    runs = find_runs(client, EXPERIMENT)
    return (client, [run for run in runs if PARENT not in run.data.tags],
            [run for run in runs if PARENT in run.data.tags])


def artifacts(client: MlflowClient, run: Run) -> set[str]:
    """Return the names of a run's artifacts, without those in folders."""
    return {item.path for item in client.list_artifacts(run.info.run_id)}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new MLflow database; creating one takes two seconds, so tests copy this one."""
    database = tmp_path_factory.mktemp("empty_store") / "mlflow.db"
    prepare(database)
    return database


@pytest.fixture
def own_store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an empty store, to which this process logs during the test."""
    shutil.copy(empty_store, tmp_path)
    wanted = environment(tmp_path)
    for name in [name for name in os.environ if name not in wanted]:
        monkeypatch.delenv(name)
    for name in [name for name in wanted if name.startswith("MLFLOW_")]:
        monkeypatch.setenv(name, wanted[name])
    return tmp_path
