"""Stores that another version of MLflow upgraded last."""

import shlex
import sqlite3
from pathlib import Path

import mlflow
import pytest
from alembic import command
from mlflow.store.db.utils import _get_alembic_config

from taglab.testing import run_python
from taglab.tracking.schema import WrongSchema, check_schema, known_revisions, newest
from taglab.tracking.store import prepare, sqlite_uri

RUN = """
from taglab.tracking import start_run
with start_run("quick/main.py", {}):
    print("the body ran")
"""


def revision(database: Path) -> str:
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def set_revision(database: Path, value: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (value,))
    connection.close()


@pytest.fixture
def older_store(own_store: Path) -> Path:
    """Return a store as the MLflow before the newest migration left it."""
    folder = own_store / "a folder, 50%"
    folder.mkdir()
    database = (own_store / "mlflow.db").rename(folder / "mlflow.db")
    command.downgrade(_get_alembic_config(sqlite_uri(database)), "-1")
    return database


def test_a_store_of_the_installed_mlflow_is_accepted(own_store):
    database = own_store / "mlflow.db"
    check_schema(database, "")
    assert revision(database) == newest(known_revisions())


@pytest.mark.parametrize("words", [["-c", RUN], ["-m", "taglab.tracking", "summary"],
                                   ["-m", "taglab.tracking", "ui"]])
def test_a_store_of_a_newer_mlflow_is_refused_in_one_sentence_and_stays_as_it_is(
        own_store, words):
    database = own_store / "mlflow.db"
    set_revision(database, "0123456789ab")
    before = {file: file.read_bytes() for file in own_store.iterdir()}
    done = run_python(*words, folder=own_store)
    assert done.returncode == 1 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line == (
        f"error: an MLflow newer than the installed {mlflow.__version__} last upgraded {database}; "
        "run this commit with a store of its own, like this: "
        "MLFLOW_TRACKING_URI=sqlite:///old.db python …")
    assert {file: file.read_bytes() for file in own_store.iterdir()} == before


def test_a_commit_with_a_store_of_its_own_runs(own_store):
    set_revision(own_store / "mlflow.db", "0123456789ab")
    done = run_python("-c", RUN, folder=own_store, MLFLOW_TRACKING_URI="sqlite:///old.db")
    assert done.returncode == 0 and "the body ran" in done.stdout, done.stderr
    assert (own_store / "old.db").exists()


def test_a_store_of_an_older_mlflow_is_refused_in_one_sentence_and_stays_as_it_is(older_store):
    before = {file: file.read_bytes() for file in older_store.parent.iterdir()}
    done = run_python("-c", RUN, folder=older_store.parent)
    assert done.returncode == 1 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line == (
        f"error: an MLflow older than the installed {mlflow.__version__} last upgraded "
        f"{older_store}; copy the file, then type: mlflow db upgrade "
        f"{shlex.quote(sqlite_uri(older_store))}")
    assert {file: file.read_bytes() for file in older_store.parent.iterdir()} == before


def test_the_command_that_the_sentence_names_upgrades_the_store(older_store):
    with pytest.raises(WrongSchema) as refused:
        prepare(older_store)
    _, *words = shlex.split(str(refused.value).rpartition("then type: ")[2])
    done = run_python("-m", "mlflow", *words, folder=older_store.parent)
    assert done.returncode == 0, done.stderr
    assert revision(older_store) == newest(known_revisions())
    prepare(older_store)


@pytest.mark.parametrize("content", [
    b"", b"this is no database, but sixteen bytes and more",
])
def test_a_file_without_a_schema_is_left_to_mlflow(tmp_path, content):
    database = tmp_path / "mlflow.db"
    database.write_bytes(content)
    check_schema(database, "")
    assert database.read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_a_database_of_another_program_is_left_to_mlflow(tmp_path):
    database = tmp_path / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    check_schema(database, "")
