"""Outages of the tracking server: they hold nothing up, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.runner.conftest import wait_for

from .conftest import ONE_KIND, BakedLab
from .servers import Server, mlflow_server

MAIN = """
import time
from pathlib import Path
from taglab.tracking import pinned, start_run
import mlflow
import numpy as np
from sklearn.linear_model import LogisticRegression

with start_run(__file__, {"seed": 1}):
    for step in range(40):
        started = time.perf_counter()
        mlflow.log_metric("loss", 40 - step, step=step)
        mlflow.log_metric("seconds", time.perf_counter() - started, step=step)
        Path("steps").write_text(str(step))
        if step == 20:
            while not Path("gone").exists():
                time.sleep(0.05)
        time.sleep(0.05)
    with mlflow.start_run(nested=True, run_name="child"):
        mlflow.log_params({"depth": 3})
        mlflow.log_text("made while the server was away", "deep/note.txt")
    model = LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
    mlflow.sklearn.log_model(model, name="model", serialization_format="pickle",
                             pip_requirements=pinned("scikit-learn"))
    Path("trained").touch()
"""
READ = """
import json, mlflow
from taglab.tracking.summary import find_runs
from taglab.tracking import experiment_name, open_store
client = open_store()
runs = find_runs(client, experiment_name())
[parent] = [run for run in runs if not run.data.tags.get("mlflow.parentRunId")]
children = [run for run in runs if run is not parent]
models = client.search_logged_models([parent.info.experiment_id])
print(json.dumps({
    "losses": [m.value for m in client.get_metric_history(parent.info.run_id, "loss")],
    "seconds": [m.value for m in client.get_metric_history(parent.info.run_id, "seconds")],
    "children": [[run.data.tags["mlflow.parentRunId"] == parent.info.run_id, run.data.params,
                  client.list_artifacts(run.info.run_id, "deep")[0].path] for run in children],
    "artifacts": sorted(item.path for item in client.list_artifacts(parent.info.run_id)),
    "status": parent.info.status,
    "models": [str(mlflow.pyfunc.load_model(model.model_uri).predict([[1.0]])) for model in models],
}))
"""
ALL = {"losses": [40 - step for step in range(40)], "status": "FINISHED", "models": ["[1]"],
       "children": [[True, {"depth": "3"}, "deep/note.txt"]],
       "artifacts": ["output.log", "versions.txt"]}


@pytest.fixture
def server(lab: BakedLab, tmp_path: Path) -> Iterator[Server]:
    """A server with an empty store."""
    with mlflow_server(lab, tmp_path / "server") as started:
        yield started


@pytest.fixture
def train(lab: BakedLab, server: Server, tmp_path: Path) -> Iterator[Callable]:
    """Return a function that starts a training, which logs to the server and waits for a file."""
    (tmp_path / "main.py").write_text(MAIN)
    running = []

    def start(wait: int) -> subprocess.Popen:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
        running.append(subprocess.Popen(
            [lab.path / ".venv/bin/python", "main.py"], cwd=tmp_path,
            env={**clean, "MLFLOW_TRACKING_URI": server.uri, "LAB_OUTBOX_SECONDS": str(wait),
                 "LAB_STATE": str(tmp_path / "state"), "LAB_ROOT": str(lab.path)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        wait_for(lambda: running[0].poll() is not None or (tmp_path / "steps").exists()
                 and (tmp_path / "steps").read_text() == "20", 60)
        assert running[0].poll() is None, running[0].communicate()[0]
        return running[0]

    yield start
    running[0].kill()


def stored(lab: BakedLab, server: Server) -> dict:
    found = lab.ok(f"python -c '{READ}'", MLFLOW_TRACKING_URI=server.uri)
    return json.loads(found.splitlines()[-1])


@ONE_KIND
def test_an_outage_does_not_delay_the_training_and_loses_nothing(
        lab: BakedLab, server: Server, train: Callable, tmp_path: Path) -> None:
    training = train(wait=60)
    server.send(signal.SIGKILL)
    (tmp_path / "gone").touch()
    wait_for((tmp_path / "trained").exists, 60)  # the server is still away
    assert (tmp_path / "state/outbox").exists()
    server.start()
    output, _ = training.communicate(timeout=60)
    assert training.returncode == 0 and "all results were sent" in output, output
    assert not list((tmp_path / "state/outbox").iterdir())
    found = stored(lab, server)
    assert max(found.pop("seconds")) < 5
    assert found == ALL


@ONE_KIND
def test_undelivered_results_are_replayed(
        lab: BakedLab, server: Server, train: Callable, tmp_path: Path) -> None:
    training = train(wait=1)
    server.send(signal.SIGKILL)
    (tmp_path / "gone").touch()
    output, _ = training.communicate(timeout=60)
    assert training.returncode == 1 and "type: lab replay" in output, output
    variables = {"MLFLOW_TRACKING_URI": server.uri, "LAB_STATE": str(tmp_path / "state")}
    away = lab.sh("lab replay", **variables)
    assert away.returncode == 1 and f"no MLflow server answers at {server.uri}" in away.stdout
    server.start()
    assert f"to {server.uri}" in lab.ok("lab replay", **variables)
    found = stored(lab, server)
    found.pop("seconds")
    assert found == ALL
    assert "nothing waits" in lab.ok("lab replay", **variables)


@ONE_KIND
def test_a_server_that_hangs_delays_the_training_by_seconds_only(
        lab: BakedLab, server: Server, train: Callable, tmp_path: Path) -> None:
    training = train(wait=60)
    server.send(signal.SIGSTOP)
    (tmp_path / "gone").touch()
    wait_for((tmp_path / "trained").exists, 60)
    server.send(signal.SIGCONT)
    output, _ = training.communicate(timeout=90)
    assert training.returncode == 0, output
    found = stored(lab, server)
    assert 2 < max(found.pop("seconds")) < 20
    assert found == ALL


@ONE_KIND
def test_without_a_server_a_run_fails_at_once(lab: BakedLab) -> None:
    started = time.monotonic()
    done = lab.sh("python lab/processes/sklearn_example/main.py",
                  MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1 and time.monotonic() - started < 30
    assert "error: no MLflow server answers at http://127.0.0.1:9" in done.stdout
    assert "Traceback" not in done.stdout


@ONE_KIND
def test_a_pod_of_a_job_waits_for_a_busy_server(lab: BakedLab, server: Server) -> None:
    server.send(signal.SIGSTOP)
    pod = subprocess.Popen(
        [lab.path / ".venv/bin/python", "lab/processes/sklearn_example/main.py"], cwd=lab.path,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "MLFLOW_TRACKING_URI": server.uri, "JOB_NAME": "wide"})
    time.sleep(20)  # any other process gives up after 5 seconds
    assert pod.poll() is None, pod.communicate()
    server.send(signal.SIGCONT)
    output, _ = pod.communicate(timeout=120)
    assert pod.returncode == 0, output
