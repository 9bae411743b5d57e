"""Fixtures for all tests of the lab."""

import os
import shutil
from pathlib import Path

import pytest
from lib.store import prepare
from lib.testing import environment


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new MLflow database; making one takes two seconds, so tests copy this one."""
    database = tmp_path_factory.mktemp("empty_store") / "mlflow.db"
    prepare(database)
    return database


@pytest.fixture
def own_store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an empty store; this process logs to it, whatever it was told before."""
    shutil.copy(empty_store, tmp_path)
    wanted = environment(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DRONE_"))]:
        monkeypatch.delenv(name)
    for name in [name for name in wanted if name.startswith("MLFLOW_")]:
        monkeypatch.setenv(name, wanted[name])
    return tmp_path
