"""The runs of a job's pods. A killed process stands for a lost pod."""

import signal

import pytest

from taglab.cluster.runs import end_lost_runs
from taglab.testing import run_python, runs_in
from taglab.tracking import connect

POD = """
import os, signal, sys
import mlflow
from taglab.tracking import start_run
with start_run("quick/main.py", {"seed": 1}), mlflow.start_run(nested=True):
    if sys.argv[1] == "lost":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(int(sys.argv[1]))
"""
KILLED = -signal.SIGKILL


@pytest.fixture
def pod(own_store):
    """Return a function that runs a pod of a job and returns its exit status."""
    def run(ending: str, index: int = 1, job: str = "wide") -> int:
        done = run_python("-c", POD, ending, folder=own_store, JOB_NAME=job,
                          JOB_COMPLETION_INDEX=str(index))
        return done.returncode
    return run


def statuses(own_store) -> list[tuple[str, str]]:
    """Return the index and the status of the runs that are not nested."""
    return [(run.data.tags["index"], run.info.status) for run in runs_in(own_store)[1]]


def test_a_pod_that_replaces_a_lost_one_continues_its_run(own_store, pod):
    assert [pod("lost"), pod("lost", 2), pod("0")] == [KILLED, KILLED, 0]
    assert statuses(own_store) == [("1", "FINISHED"), ("2", "RUNNING")]


def test_a_pod_that_retries_a_failed_index_has_a_run_of_its_own(own_store, pod):
    assert [pod("4"), pod("0"), pod("0", job="other")] == [4, 0, 0]
    assert statuses(own_store) == [("1", "FAILED"), ("1", "FINISHED"), ("1", "FINISHED")]


def test_the_runs_of_lost_pods_end_with_their_job(own_store, pod):
    assert [pod("0"), pod("lost", 2), pod("lost", job="other")] == [0, KILLED, KILLED]
    connect()
    end_lost_runs("wide")
    assert statuses(own_store) == [("1", "FINISHED"), ("2", "KILLED"), ("1", "RUNNING")]
    assert [run.info.status for run in runs_in(own_store)[2]] == ["FINISHED", "KILLED", "RUNNING"]
