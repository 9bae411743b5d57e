"""A search leaves the same rows in the lab's SQLite file as MLflow's client does."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from taglab.testing import run_python
from taglab.tracking.sqlalchemy_runs import PLAIN

PROGRAM = """
import os, signal, sys
from pathlib import Path
import mlflow, optuna
from taglab.search import search
from taglab.tracking import start_run

def train(kind, width, trial):
    once = Path("died")
    if kind == "dies" and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "logs":
        import mlflow
        mlflow.log_metric("own", 1.5)
        mlflow.set_tag("constraints", "mine")
        mlflow.log_param("width", width)
    if kind == "conflict":
        import mlflow
        mlflow.log_param("width", "another")
    if kind == "files":
        print("hello")
        (trial.folder / "model").mkdir()
        (trial.folder / "model" / "weights.bin").write_text("weights")
    if kind == "pruned":
        trial.report(0.5, 1)
        trial.report(9, 2)
    if kind == "fails":
        raise ValueError("much " * 2000)
    trial.set_constraint("size", 1 if kind == "big" else -1)
    trial.report(0.25, 3)
    odd = {"nan": float("nan"), "up": float("inf"), "down": -float("inf")}
    return {"score": 0.5, **(odd if kind == "odd" else {})}

kinds = ["dies", "plain", "files", "odd", "big", "pruned", "fails", "logs", "conflict", "w" * 7000]
with start_run("quick/main.py", {}, run_name="parent"):
    found = search(train, {"kind": kinds, "width": [(1, 2)]}, metric="score", direction="minimize",
                   method="grid", pruner=optuna.pruners.ThresholdPruner(upper=5))
    print(found.trials["state"].tolist())
"""
STATES = ["FINISHED"] * 5 + ["KILLED", "FAILED", "FINISHED", "FAILED", "FINISHED"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, empty_store):
    """Return the folders of two stores: one as the client fills it, one filled row by row."""
    folders = []
    for plain in ("1", ""):
        folder = tmp_path_factory.mktemp("recorded")
        shutil.copy(empty_store, folder)
        done = run_python("-c", PROGRAM, folder=folder, LAB_STATE=folder / "state",
                          LAB_ROOT=folder, **{PLAIN: plain})
        assert f"{STATES}\n" in done.stdout, done.stderr
        folders.append(folder)
    return folders


def comparable(folder: Path, text: str) -> str:
    """Return a text with names for what differs from store to store: runs, times and the place."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        for run_id, name in connection.execute("SELECT run_uuid, name FROM runs"):
            text = text.replace(run_id, f"<run {name[:20]}>")
    text = re.sub(r"\b[0-9a-f]{32}\b", "<id>", text.replace(str(folder), "<folder>"))
    return re.sub(r"\b1\d{12}\b", "<time>", text)


def rows_of(folder: Path) -> dict[str, list[str]]:
    """Return the rows of every table, with times of metrics counted from the end of their run."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        trials = connection.execute("SELECT run_uuid, end_time FROM runs WHERE name != 'parent'")
        ends, found = dict(trials), {}
        for table, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row)) for row in cursor]
            for row in rows:
                if "is_nan" in row and row["run_uuid"] in ends and row["key"] != "own":
                    row["timestamp"] -= ends[row["run_uuid"]]
            found[table] = sorted(comparable(folder, repr(row)) for row in rows)
    return found


def test_every_row_of_every_table_is_the_one_that_the_client_writes(recorded):
    client, direct = map(rows_of, recorded)
    assert len(direct["runs"]) == 11 and len(direct["metrics"]) > 20
    assert client.keys() == direct.keys()
    for table in client:
        assert direct[table] == client[table], table


def test_every_file_of_every_trial_is_the_one_that_the_client_stores(recorded):
    def files(folder):
        stored = [(comparable(folder, str(file)), file) for file in folder.glob("mlartifacts/**/*")]
        return {name: comparable(folder, file.read_text()) for name, file in stored
                if file.is_file() and "parent" not in name}

    client, direct = map(files, recorded)
    assert len(direct) == 4 and direct == client
