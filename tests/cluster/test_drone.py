"""A lab's own pipelines on a cluster, executed by Drone's Kubernetes runner."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .conftest import TAG, Server

RUNNER = shutil.which("drone-runner-kube")
WIDE = """
---
kind: pipeline
type: kubernetes
name: wide-search
service_account_name: wide-jobs
environment:
  PYTHONPATH: /drone/src/lab:/drone/src/vendor
  MLFLOW_TRACKING_URI: http://tracking-server:5000
  MLFLOW_EXPERIMENT_NAME: wide-drone
steps:
- name: first
  image: {image}
  commands: [echo first]
- name: search
  image: {image}
  commands: [python lab/processes/wide_search/main.py points=4 cluster.parallelism=2]
  environment:
    AWS_SECRET_ACCESS_KEY:
      from_secret: aws_secret_access_key
"""


@pytest.fixture
def drone_file(server: Server, lab: Path, tmp_path: Path) -> Path:
    """The lab's `.drone.yml` with the tracking server of the test and an additional pipeline."""
    if not RUNNER:
        pytest.skip("drone-runner-kube is not on PATH")
    file = tmp_path / ".drone.yml"
    text = (lab / ".drone.yml").read_text().replace("tags/run-examples-*", "tags/wide-*")
    text += WIDE.format(image=server.cluster.image)
    file.write_text(text.replace("http://tracking-server:", f"http://{server.address}:"))
    return file


def start(server: Server, file: Path, pipeline: str) -> subprocess.Popen[str]:
    """Run a pipeline as Drone's runner does for a pushed tag."""
    given = {
        "kubeconfig": os.environ["KUBECONFIG"], "namespace": server.cluster.namespace,
        "stage-name": pipeline, "build-event": "tag", "build-number": "12",
        "commit-ref": f"refs/tags/{TAG}", "commit-after": server.commit,
        "repo-http": f"git://{server.address}/lab.git", "repo-slug": "team/lab",
        "repo-namespace": "team", "repo-name": "lab",
        "secrets": "aws_secret_access_key=very-secret"}
    return subprocess.Popen(
        [RUNNER, "exec", "--clone", *(f"--{name}={value}" for name, value in given.items()), file],
        cwd=file.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def execute(server: Server, file: Path, pipeline: str) -> str:
    """Run a pipeline, which must succeed, and return its log."""
    process = start(server, file, pipeline)
    log = process.communicate(timeout=1200)[0]
    assert process.returncode == 0, log
    return log


def test_the_examples_run_and_their_results_are_on_the_server(
        server: Server, drone_file: Path) -> None:
    execute(server, drone_file, "experiments")
    runs = [run for run in server.runs("wide-lab") if "mlflow.parentRunId" not in run["tags"]]
    assert {run["tags"]["process"] for run in runs} == {
        "sklearn_example", "pytorch_example", "svm_search"}
    for run in runs:
        assert run["status"] == "FINISHED" and run["tags"]["dirty"] == "false"
        assert (run["tags"]["commit"], run["tags"]["tag"]) == (server.commit, TAG)
        assert run["tags"]["build"] == "12"


def test_a_step_of_a_pipeline_starts_a_wide_job(server: Server, drone_file: Path) -> None:
    log = execute(server, drone_file, "wide-search")
    assert "[0] best: x=3" in log and "succeeded" in log
    (parent,) = [run for run in server.runs("wide-drone")
                 if "mlflow.parentRunId" not in run["tags"]]
    assert parent["status"] == "FINISHED" and parent["tags"]["commit"] == server.commit
    server.cluster.wait(lambda: not jobs_of_drone(server))


def test_a_cancelled_pipeline_leaves_no_job(server: Server, drone_file: Path) -> None:
    text = drone_file.read_text().replace("wide_search/main.py points=4", "wide_sleep/main.py")
    drone_file.write_text(text)
    runner = start(server, drone_file, "wide-search")
    for line in runner.stdout:
        if "[1] asleep" in line:
            break
    assert jobs_of_drone(server)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=120)
    server.cluster.wait(lambda: not jobs_of_drone(server))
    server.cluster.wait(lambda: not [pod for pod in server.cluster.pods()
                                     if pod["metadata"]["name"].startswith("drone-")])
    assert {run["status"] for run in server.runs("wide-drone")} == {"FINISHED", "KILLED"}


def jobs_of_drone(server: Server) -> list[dict]:
    """Return the jobs that steps of pipelines have started."""
    return [job for job in server.cluster.jobs() if job["metadata"]["name"].startswith("drone-")]
