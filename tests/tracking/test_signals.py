import signal
import sqlite3
import time

import pytest

from taglab.testing import run_python, runs_in
from taglab.tracking.signals import Interrupted, interruptible, uninterrupted

# The process sends itself a signal in the middle of a write to its database.
WRITING = """
import os, signal, sys, time
import mlflow
from sqlalchemy import event
from sqlalchemy.engine import Engine
from taglab.search import search
from taglab.tracking import start_run
def interrupt(connection, cursor, statement, *_):
    if statement.startswith(sys.argv[2]) and not sent:
        sent.append(statement)
        os.kill(os.getpid(), int(sys.argv[1]))
sent = []
with start_run("quick/main.py", {}):
    event.listen(Engine, "before_cursor_execute", interrupt)
    mlflow.log_metrics({"loss": 1.5, "accuracy": 0.5})
    with open("written", "w"):
        search(lambda x: time.sleep(0.1) or x, {"x": [*range(100)]}, direction="minimize",
               method="grid", workers=2)
"""


@pytest.mark.parametrize("number, code, statement", [
    (signal.SIGTERM, 143, "INSERT INTO metrics"),
    (signal.SIGINT, -signal.SIGINT, "INSERT INTO metrics"),
    (signal.SIGTERM, 143, "INSERT INTO params"),  # of a trial
])
def test_a_signal_waits_for_the_end_of_a_write(own_store, number, code, statement):
    done = run_python("-c", WRITING, int(number), statement, folder=own_store,
                      LAB_STATE=own_store / "state")
    assert done.returncode == code, done.stderr
    assert (own_store / "written").exists(), "the write was interrupted"
    _, [parent], nested = runs_in(own_store)
    assert parent.info.status == "KILLED" and parent.data.metrics == {"loss": 1.5, "accuracy": 0.5}
    assert {run.info.status for run in nested} <= {"KILLED", "FINISHED"}
    with sqlite3.connect(own_store / "mlflow.db", timeout=0) as database:
        database.execute("BEGIN IMMEDIATE")


def test_a_signal_ends_the_body_at_once_unless_it_is_held_back():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with interruptible():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.1)
                done.append("the end")
            time.sleep(5)
            done.append("more")
    assert done == ["the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(Interrupted) as ended:
        with interruptible():
            signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    with interruptible() as ignore:
        ignore()
        signal.raise_signal(signal.SIGTERM)
