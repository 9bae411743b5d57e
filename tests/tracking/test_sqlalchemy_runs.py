import sqlite3
import sys
import threading
import time

import pytest
from mlflow.entities import Metric
from sqlalchemy import event
from sqlalchemy.engine import Engine

from taglab.tracking import connect, sqlalchemy_runs
from taglab.tracking.quick_mlflow import mlflow
from taglab.tracking.signals import _is_writing
from taglab.tracking.sqlalchemy_runs import row_writer


@pytest.fixture
def client(own_store):
    """Return a client of the test's store."""
    connect()
    return mlflow.MlflowClient()


@pytest.fixture
def experiment(client):
    """Return the experiment of the test."""
    return client.get_experiment_by_name("test")


@pytest.fixture
def rows(experiment):
    """Return what writes its runs."""
    return row_writer(mlflow.get_tracking_uri(), experiment)


def test_a_run_is_there_when_it_starts_and_ended_when_it_ends(client, rows):
    run_id = rows.create("first", {"a": "b", "mlflow.user": "ann"})
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status, run.info.user_id) == ("first", "RUNNING", "ann")
    assert run.data.tags == {"a": "b", "mlflow.user": "ann", "mlflow.runName": "first"}
    points = [Metric("loss", value, 1000, step) for value, step in ((1.0, 2), (3.0, 1))]
    assert rows.end(run_id, points, {"depth": "3"}, {"c": "d"}, "FINISHED", 2000)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 2000)
    assert (run.data.metrics, run.data.params) == ({"loss": 1.0}, {"depth": "3"})
    assert run.data.tags["c"] == "d" and len(client.get_metric_history(run_id, "loss")) == 2


@pytest.mark.parametrize("metrics, params, tags", [
    ({"a//b": 1.0}, {}, {}), ({}, {251 * "p": "1"}, {}), ({}, {"p": 6001 * "v"}, {}),
    ({}, {}, {"t": 8001 * "v"}), ({}, {}, {"there": "another"}), ({"loss": 1.0}, {}, {"@": ""})])
def test_what_is_not_plain_is_left_to_the_client_and_nothing_is_written(
        client, rows, metrics, params, tags):
    run_id = rows.create("first", {"there": "value"})
    before = client.get_run(run_id).to_dictionary()
    points = [Metric(name, value, 1000, 0) for name, value in metrics.items()]
    assert not rows.end(run_id, points, {"good": "1"} | params, tags, "FINISHED", 2000)
    assert client.get_run(run_id).to_dictionary() == before


def test_a_deleted_run_and_one_that_has_a_model_are_left_to_the_client(client, rows):
    deleted, other = rows.create("first", {}), rows.create("second", {})
    client.delete_run(deleted)
    assert not rows.end(deleted, [], {}, {}, "FINISHED", 2000)
    with mlflow.set_active_model(name="model"):
        assert not rows.end(other, [], {}, {}, "FINISHED", 2000)
    assert rows.create("third", {"mlflow.runName": "another"}) == ""


def test_only_the_known_tables_of_a_sqlite_file_are_written(
        experiment, own_store, monkeypatch):
    uri = mlflow.get_tracking_uri()
    assert row_writer("http://127.0.0.1:9", experiment) is None
    monkeypatch.setenv("LAB_PLAIN_RECORDING", "1")
    assert row_writer(uri, experiment) is None
    monkeypatch.setenv("LAB_PLAIN_RECORDING", "0")
    assert row_writer(uri, experiment) is not None
    with sqlite3.connect(own_store / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'another'")
    assert row_writer(uri, experiment) is None


def test_a_locked_database_is_waited_for(own_store, rows):
    holder = sqlite3.connect(own_store / "mlflow.db", check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, holder.rollback).start()
    started = time.monotonic()
    assert rows.create("first", {}) and time.monotonic() - started > 0.25
    holder.close()


def test_where_the_database_cannot_be_written_the_client_has_to(own_store, rows, monkeypatch):
    monkeypatch.setattr(sqlalchemy_runs, "SETTINGS", ["PRAGMA busy_timeout = 10"])
    holder = sqlite3.connect(own_store / "mlflow.db")
    holder.execute("BEGIN IMMEDIATE")
    assert rows.create("first", {}) == ""
    holder.close()


def test_signals_wait_from_the_first_row_to_the_commit(rows):
    writing = []

    def look(*_):
        frames = [sys._getframe()]
        while frames[-1]:
            frames.append(frames[-1].f_back)
        [frame] = [each for each in frames[:-1] if each.f_code.co_name == "_write"]
        writing.append(_is_writing(frame))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        rows.create("first", {})
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    assert len(writing) == 4 and all(writing)
