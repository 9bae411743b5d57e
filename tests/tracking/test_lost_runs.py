import os
import signal
import subprocess
import sys
import time

import mlflow
import pytest

from taglab.lab import lab_root
from taglab.running import lost_runs, marked
from taglab.testing import environment, run_python, runs_in
from taglab.tracking import start_run
from taglab.tracking.command import main
from taglab.tracking.lost_runs import end_lost_runs
from taglab.tracking.store import sqlite_uri
from tests.runner.conftest import Lab, wait_for

OPEN = """
import sys, time
import mlflow
from taglab.tracking import start_run
with start_run("quick/main.py", {}):
    with mlflow.start_run(nested=True):
        with mlflow.start_run(nested=True):
            open("ready", "w")
            time.sleep(60)
"""


@pytest.fixture(autouse=True)
def state(own_store, monkeypatch):
    """Return the state folder of the test's processes."""
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    return own_store / "state"


def start(folder):
    """Return a process whose runs are open."""
    process = subprocess.Popen([sys.executable, "-c", OPEN], cwd=folder,
                               stdout=subprocess.DEVNULL, env=environment(folder))
    while not (folder / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    (folder / "ready").unlink()
    return process


def statuses(folder):
    _, parents, nested = runs_in(folder)
    return [run.info.status for run in [*parents, *nested]]


def test_the_runs_of_a_killed_process_end_as_killed_and_those_of_others_go_on(
        own_store, state, capfd):
    lost, alive = start(own_store), start(own_store)
    lost.kill()  # and it is not waited for, so its process id is still there
    while not list(lost_runs(state)):
        time.sleep(0.01)
    assert statuses(own_store) == 6 * ["RUNNING"]
    assert main(["end-lost"]) == 0
    assert capfd.readouterr().out == "3 runs marked as killed: their process is gone\n"
    assert statuses(own_store) == ["KILLED", "RUNNING", "KILLED", "KILLED", "RUNNING", "RUNNING"]
    assert main(["end-lost"]) == 0 and capfd.readouterr().out == ""
    alive.send_signal(signal.SIGSTOP)
    assert end_lost_runs() == 0, "a stopped process is alive"
    alive.kill()
    for process in (alive, lost):
        process.wait()
    with start_run("quick/main.py", {}):
        assert set(statuses(own_store)) == {"KILLED", "RUNNING"}
        assert end_lost_runs() == 0 and statuses(own_store).count("RUNNING") == 1, "its own"
    assert sorted(set(statuses(own_store))) == ["FINISHED", "KILLED"]
    assert not list((state / "running").iterdir())
    reasons = {run.data.tags["reason"] for run in runs_in(own_store)[2]}
    assert reasons == {"its process was killed"}


@pytest.mark.parametrize("words", [["summary", "--build", "1"], ["kill", "--build", "1"]])
def test_the_runner_finds_no_lost_run_running_at_the_end_of_a_build(own_store, words):
    process = start(own_store)
    process.kill()
    process.wait()
    run_python("-m", "taglab.tracking", *words, folder=own_store)
    assert statuses(own_store) == 3 * ["KILLED"]


def mark_lost(state, run_id, uri):
    """Leave the mark of a process that is gone."""
    child = os.fork()
    if not child:
        with marked(state, run_id, uri):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_store_or_a_run_that_is_gone_is_forgotten_and_one_that_is_away_is_not(
        own_store, state, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_experiment("test")
    with mlflow.start_run() as deleted:
        pass
    mlflow.MlflowClient().delete_run(deleted.info.run_id)
    here = sqlite_uri(own_store / "mlflow.db")
    mark_lost(state, "0123", here)
    mark_lost(state, deleted.info.run_id, here)
    mark_lost(state, "4567", sqlite_uri(own_store / "gone.db"))
    mark_lost(state, "89ab", "http://127.0.0.1:9")
    (state / "running" / f"{os.uname().nodename}-1-x").touch()  # emptied by a power cut
    assert [marker.run_id for marker in lost_runs(state)] and end_lost_runs() == 0
    assert [marker.run_id for marker in lost_runs(state)] == ["89ab"]
    assert not (own_store / "gone.db").exists()


def test_two_sweeps_at_once_end_each_run_once(own_store, state):
    mark_lost(state, "0123", "sqlite:///a.db")
    child = os.fork()
    if not child:
        for _ in lost_runs(state):
            (own_store / "claimed").touch()
            time.sleep(60)
        os._exit(0)
    wait_for((own_store / "claimed").exists)
    assert list(lost_runs(state)) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(lost_runs(state))) == 1, "the next one goes on"


def test_lab_status_ends_the_runs_of_processes_that_were_killed(own_store):
    lab = Lab(lab_root())
    lab.git("init", "-q")
    process = start(own_store)
    process.kill()
    process.wait()
    done = lab.lab("status")
    assert done.stdout.splitlines()[0] == "3 runs marked as killed: their process is gone"
    assert statuses(own_store) == 3 * ["KILLED"]
    assert "marked" not in lab.lab("status").stdout
