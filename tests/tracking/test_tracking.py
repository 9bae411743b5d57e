import contextlib
import os
import signal
import subprocess
import sys

import mlflow
import pytest

from taglab.tag_parameters import Parameter, TagMessage, marked, write_message
from taglab.testing import EXPERIMENT, artifacts, environment, run_python, runs_in
from taglab.tracking import connect, experiment_name, start_run, tracking_uri
from taglab.tracking.view import runs_page
from tests.runner.conftest import GIT_VARIABLES

PRINTING = """
import ctypes, os, signal, subprocess, sys, time
import mlflow
from taglab.tracking import start_run
with start_run("quick/main.py", {}):
    with mlflow.start_run(run_name="nested", nested=True):
        print("from python")
        print("to stderr", file=sys.stderr)
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        subprocess.run(["echo", "from a subprocess"])
        try:
            print("ready")
            while True:  # a signal just before a long sleep would wait for its end
                time.sleep(0.1)
        finally:
            print("tidied up")
"""


def test_the_environment_decides_where_results_go(lab_folder):
    assert tracking_uri({}) == f"sqlite:///{lab_folder / 'mlflow.db'}"
    assert tracking_uri({"MLFLOW_URL": "http://kdl"}) == "http://kdl"
    assert tracking_uri({"MLFLOW_URL": "http://kdl", "MLFLOW_TRACKING_URI": "http://own"}) == (
        "http://own")
    assert experiment_name({"MLFLOW_EXPERIMENT": "kdl"}) == "kdl"
    assert experiment_name({"MLFLOW_EXPERIMENT": "kdl", "MLFLOW_EXPERIMENT_NAME": "own"}) == "own"
    assert f'name = "{experiment_name({})}"' in (lab_folder / "pyproject.toml").read_text()


@pytest.mark.parametrize("error, status", [
    (None, "FINISHED"),
    (SystemExit(0), "FINISHED"),
    (SystemExit(), "FINISHED"),
    (SystemExit(4), "FAILED"),
    (SystemExit("no data"), "FAILED"),
    (ZeroDivisionError("here"), "FAILED"),
    (KeyboardInterrupt(), "KILLED"),
])
def test_a_run_and_its_nested_run_end_as_the_body_does(own_store, error, status):
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        with start_run("quick/main.py", {}):
            with contextlib.suppress(OSError), mlflow.start_run(run_name="before", nested=True):
                raise OSError("dealt with")
            with mlflow.start_run(run_name="nested", nested=True):
                if error:
                    raise error
    client, [parent], nested = runs_in(own_store)
    assert (parent.info.status, nested[1].info.status) == (status, status)
    assert nested[0].info.status == "FAILED"
    if status == "FAILED":
        log = client.download_artifacts(parent.info.run_id, "output.log", str(own_store))
        assert type(error).__name__ in open(log).read()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_after_a_signal_no_run_appears_to_be_running(own_store, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTING], cwd=own_store, env=environment(own_store), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    printed = []
    while process.poll() is None and "ready" not in printed:
        printed.append(process.stdout.readline().rstrip("\n"))
    os.killpg(process.pid, number)
    last, _ = process.communicate(timeout=30)
    assert process.returncode == code
    client, [parent], [nested] = runs_in(own_store)
    assert (parent.info.status, nested.info.status) == ("KILLED", "KILLED")
    # The output is complete and in order, whoever printed it, live and in the log.
    expected = ["from python", "to stderr", "from C", "from a subprocess", "ready"]
    assert printed == expected and last.startswith("tidied up\n")
    log = client.download_artifacts(parent.info.run_id, "output.log", str(own_store))
    assert open(log).read().splitlines()[:6] == [*expected, "tidied up"]


def test_every_run_carries_its_origin(own_store, monkeypatch):
    for name, value in {"COMMIT_SHA": "abc", "TAG": "quick-v1", "BUILD_NUMBER": "7"}.items():
        monkeypatch.setenv(f"DRONE_{name}", value)
    with start_run("quick/main.py", {"seed": 5, "model": {"depth": 2}}):
        with mlflow.start_run(nested=True):
            pass
    client, [parent], [nested] = runs_in(own_store)
    for run in (parent, nested):
        assert run.data.tags | {"commit": "abc", "tag": "quick-v1", "build": "7", "seed": "5",
                                "process": "quick"} == run.data.tags
        assert len(run.data.tags["config_hash"]) == 12
    assert parent.data.params == {"seed": "5", "model.depth": "2"}
    assert {"output.log", "versions.txt"} <= artifacts(client, parent)


def test_a_launched_run_shows_its_question_and_what_its_tag_changed(
    own_store, lab_folder, monkeypatch
):
    folds = (Parameter("quick", "folds", "5"),)
    tag = marked("quick-v1", folds)
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "First"],
                  ["tag", "-a", "-m", write_message(tag, TagMessage("Why five?", folds)), tag]):
        subprocess.run(["git", *words], cwd=lab_folder, env={**os.environ, **GIT_VARIABLES},
                       check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=lab_folder, capture_output=True,
                            text=True).stdout.strip()
    monkeypatch.setenv("DRONE_TAG", tag)
    monkeypatch.setenv("DRONE_COMMIT_SHA", commit)
    monkeypatch.setattr(sys, "argv", ["main.py", "seed=2"])
    with start_run("quick/main.py", {"folds": 5, "seed": 2}):
        with mlflow.start_run(nested=True):
            pass
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"mlflow.note.content": "set elsewhere"}')
    with start_run("quick/main.py", {"folds": 5, "seed": 2}):
        pass
    client, [parent, other], [nested] = runs_in(own_store)
    for run in (parent, nested):
        assert run.data.tags["parameters_from_tag"] == "folds=5"
        assert run.data.tags["parameters_from_command_line"] == "seed=2"
    assert parent.data.tags["mlflow.note.content"] == "Why five?"
    assert "mlflow.note.content" not in nested.data.tags
    assert other.data.tags["mlflow.note.content"] == "set elsewhere"
    runs_page(client, EXPERIMENT)
    columns = client.get_experiment_by_name(EXPERIMENT).tags["mlflow.sharedViewState.taglab"]
    assert "tags.`parameters_from_tag`" in columns


def test_in_a_notebook_everything_is_restored_afterwards(own_store, capfd):
    connect()
    streams, handler = (sys.stdout, sys.stderr), signal.getsignal(signal.SIGTERM)
    leave = mlflow.ActiveRun.__exit__
    with start_run("quick/main.py", {"seed": 1}) as run:
        print("shown")
        mlflow.start_run(nested=True)  # never ended by the body
    assert (sys.stdout, sys.stderr) == streams
    assert signal.getsignal(signal.SIGTERM) is handler
    assert mlflow.ActiveRun.__exit__ is leave
    assert mlflow.active_run() is None and "MLFLOW_RUN_CONTEXT" not in os.environ
    assert "shown" in capfd.readouterr().out
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/output.log") == "shown\n"
    assert {each.info.status for group in runs_in(own_store)[1:] for each in group} == {"FINISHED"}


def test_outside_of_a_lab_a_run_ends_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_ROOT")
    monkeypatch.chdir(tmp_path)
    main_file = tmp_path / "main.py"
    main_file.write_text("from taglab.tracking import start_run\n"
                         "with start_run(__file__, {}):\n    print('the body ran')\n")
    done = run_python(main_file, folder=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        f"error: {main_file} is not inside a lab. A lab is a folder of experiments that holds "
        "vendor/taglab. Change to one with cd, or name it: export LAB_ROOT=FOLDER. To make one, "
        "type: pip install cookiecutter && cookiecutter PATH-OR-URL-OF-TAGLAB\n")
    assert list(tmp_path.iterdir()) == [main_file], "a store was created"


def test_a_server_that_is_away_is_an_error_within_seconds(tmp_path):
    done = run_python("-c", PRINTING, folder=tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9",
                      MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="0")
    assert done.returncode == 1 and "Max retries exceeded" in done.stderr
