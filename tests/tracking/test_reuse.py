"""A process does not do again what a run of the same commit and parameters has done."""

import subprocess
import time

import mlflow
import pytest

from taglab.cluster.manifest import JOB_INDEX, JOB_NAME
from taglab.testing import runs_in
from taglab.tracking import start_run
from taglab.tracking.provenance import run_tags
from taglab.tracking.reuse import done_before, end_if_done, sufficient

MAIN = "lab/processes/wine/main.py"


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)


@pytest.fixture
def store(own_store, lab_folder, monkeypatch):
    """Return the folder of the store, for a lab with one commit."""
    monkeypatch.delenv("LAB_REUSE", raising=False)
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    return own_store


def run(main: str = MAIN, config: dict | None = None, **arguments) -> bool:
    """Start a run; return whether its body was reached."""
    try:
        with start_run(main, {"folds": 3} if config is None else config, **arguments):
            return True
    except SystemExit as end:
        assert end.code == 0
        return False


def test_what_has_finished_is_not_run_again_and_says_where_it_is(store, monkeypatch, capfd):
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "7")
    assert run()
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "8")
    assert run(), "a restart without the variable runs everything"
    newest = runs_in(store)[1][-1].info
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "9")
    monkeypatch.setenv("LAB_REUSE", "true")
    capfd.readouterr()
    begun = time.monotonic()
    assert not run()
    assert time.monotonic() - begun < 10
    assert capfd.readouterr().out == (
        f"done before: wine in build 8, run {newest.run_id}: lab ui, "
        f"/#/experiments/{newest.experiment_id}/runs/{newest.run_id}\n")
    older, reused = runs_in(store)[1]
    assert (reused.data.tags["build"], reused.data.tags["reused.9"]) == ("8", "true")
    assert "reused.9" not in older.data.tags
    assert run(reuse=False) and not run(reuse=True)


def test_the_address_on_a_server_holds_no_password(store, monkeypatch):
    assert run()
    [done] = runs_in(store)[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:hunter2@mlflow.example/lab/")
    assert done_before(done) == (
        f"done before: wine by hand, run {done.info.run_id}: https://mlflow.example/lab/#/"
        f"experiments/{done.info.experiment_id}/runs/{done.info.run_id}")


def test_something_else_is_run(store, lab_folder, monkeypatch):
    monkeypatch.setenv("LAB_REUSE", "true")
    with pytest.raises(ZeroDivisionError), start_run(MAIN, {"folds": 3}):
        with mlflow.start_run(nested=True):
            pass  # this one is FINISHED
        1 / 0
    assert run() and not run()
    assert run(config={"folds": 5}) and run("lab/processes/beer/main.py")
    (lab_folder / "new.txt").touch()
    assert run() and run("lab/processes/cider/main.py"), "something is uncommitted"
    (lab_folder / "new.txt").unlink()
    assert run("lab/processes/cider/main.py"), "something was uncommitted"
    git("commit", "-qm", "second", "--allow-empty")
    assert run(), "another commit"
    [done] = [each for each in runs_in(store)[1] if each.data.tags["process"] == "beer"]
    mlflow.MlflowClient().set_tag(done.info.run_id, "python", "3.2.1")
    git("checkout", "-q", "HEAD~1")
    assert run("lab/processes/beer/main.py"), "another Python"


def test_all_processes_of_torchrun_end_and_the_pods_of_a_job_do_not(store, lab_folder, capfd):
    assert run()
    tags = run_tags(lab_folder, "wine", {"folds": 3})
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        end_if_done({"folds": 3}, tags, {"RANK": "1", "DRONE_BUILD_NUMBER": "9"})
    assert end.value.code == 0 and capfd.readouterr().out == ""
    assert "reused.9" not in runs_in(store)[1][0].data.tags
    end_if_done({"folds": 3}, tags, {"RANK": "0", JOB_NAME: "wide"})  # does not end this one


def test_a_wide_job_is_done_when_each_of_its_pods_is(store, monkeypatch):
    job = {"cluster": {"completions": 2}}
    monkeypatch.setenv(JOB_NAME, "wide")

    def pod(index: int) -> bool:
        monkeypatch.setenv(JOB_INDEX, str(index))
        return run(config=job)

    assert pod(0)
    monkeypatch.setenv("LAB_REUSE", "true")
    assert not pod(0)
    [first] = runs_in(store)[1]
    training = {"cluster": {"parallelism": 2, "torchrun": 1}}
    assert sufficient([first], job, {}) == [] != sufficient([first], training, {})
    assert sufficient([first], {}, {}) == [], "an index is not the whole"
    assert sufficient([first], {"cluster": {"nonsense": 1}}, {}) == []
    assert pod(1)
    pods = runs_in(store)[1]
    assert sufficient(pods, job, {}) == pods
    assert sufficient(pods, job, {JOB_INDEX: "1"}) == pods[1:]
