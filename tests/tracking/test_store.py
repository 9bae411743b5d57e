import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from sklearn.dummy import DummyClassifier

from taglab.testing import EXPERIMENT, environment, runs_in, store_in
from taglab.tracking import start_run
from taglab.tracking.store import artifact_root, prepare, sqlite_file

ONE_RUN = """
from taglab.tracking import start_run
with start_run("quick/main.py", {"seed": 1}):
    pass
"""


@pytest.mark.parametrize("uri, path", [
    ("sqlite:////a/b.db", "/a/b.db"),
    ("sqlite+pysqlite:////a/b c#1.db?timeout=3", "/a/b c#1.db"),
    ("sqlite:///b.db", "b.db"),
    ("sqlite:////a/50%25%3F.db", "/a/50%?.db"),
    ("sqlite://", None),
    ("sqlite:///:memory:", None),
    ("http://mlflow-server:5000", None),
    ("postgresql+psycopg2://u@h/db", None),
])
def test_the_file_of_a_sqlite_address(uri, path):
    assert sqlite_file(uri) == (Path(path).absolute() if path else None)


def test_a_commit_does_not_wait_for_the_disk(own_store):
    with start_run("quick/main.py", {}):
        store = mlflow.MlflowClient()._tracking_client.store
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_several_processes_may_create_the_same_store_at_once(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", ONE_RUN], env=environment(tmp_path),
                                  cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    client, runs, _ = runs_in(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    [experiment] = [each for each in client.search_experiments() if each.name == EXPERIMENT]
    assert experiment.artifact_location == artifact_root(tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not (tmp_path / "mlruns").exists()


def test_artifacts_and_models_are_found_after_the_folder_was_moved(own_store, tmp_path_factory,
                                                                   monkeypatch):
    with start_run("quick/main.py", {}) as run:
        mlflow.log_text("hello", "folder/hello.txt")
        info = mlflow.sklearn.log_model(DummyClassifier().fit([[0]], ["a"]), name="dummy",
                                        serialization_format="pickle", pip_requirements=[])
        mlflow.register_model(info.model_uri, "dummy")
    moved = tmp_path_factory.mktemp("moved") / "a lab, moved ñ"
    shutil.move(own_store, moved)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in(moved))

    with start_run("quick/main.py", {}):
        mlflow.log_text("more", "more.txt")
        folder = f"runs:/{run.info.run_id}"
        assert mlflow.artifacts.load_text(f"{folder}/folder/hello.txt") == "hello"
        assert mlflow.sklearn.load_model("models:/dummy/1").predict([[0]]) == ["a"]
    old = str(own_store)
    with sqlite3.connect(moved / "mlflow.db") as connection:
        dump = [line for line in connection.iterdump() if old in line]
    assert not [line for line in dump if "mlartifacts" in line]
    assert not own_store.exists(), "something was written to the old place"


def test_addresses_elsewhere_are_not_replaced(own_store):
    database = own_store / "mlflow.db"
    client = mlflow.MlflowClient(store_in(own_store))
    for name, address in (("s3", "s3://bucket/mlartifacts"), ("disk", "/data/results")):
        client.create_experiment(name, address)
    (own_store / "mlartifacts").mkdir(exist_ok=True)
    prepare(database)
    found = {each.name: each.artifact_location for each in client.search_experiments()}
    assert found["s3"] == "s3://bucket/mlartifacts" and found["disk"] == "/data/results"


def test_a_store_that_was_left_half_made_is_made_again(tmp_path):
    database = tmp_path / "mlflow.db"
    Path(f"{database}.draft").write_bytes(b"half")
    database.touch()
    prepare(database)
    assert mlflow.MlflowClient(store_in(tmp_path)).search_experiments()
    assert not Path(f"{database}.draft").exists()
