"""What Drone rejects, what cannot run on this machine, and how each is reported."""
from __future__ import annotations

import re

import pytest

from taglab.engines.drone.decide import all_pipelines, pipeline_to_run
from taglab.engines.drone.documents import FileError

from .conftest import PIPELINE, Lab


@pytest.mark.parametrize(("steps", "named"), [
    ("services: [{name: db, image: redis}]\nsteps: []\n", "step `db`: no `commands`"),
    ("steps: [{name: a, image: plugins/s3, settings: {x: 1}}]\n", "no `commands`"),
    ("volumes: [{name: v, temp: {}}]\n", "`volumes`"),
    ("steps: [{name: a, image: x, commands: [x], user: 0, group: 7}]\n", "`group`"),
    ("steps: [{name: a, image: x, commands: [cd /drone/src/lab && ls]}]\n",
     "step `a`: `/drone/src` in `commands`: the workspace is elsewhere on this machine; write "
     "`$DRONE_WORKSPACE`"),
])
def test_a_pipeline_that_cannot_run_here_is_refused(lab: Lab, steps: str, named: str) -> None:
    lab.pipeline(steps)
    shown = lab.push_tag("exp-1")
    assert named in shown and "line 6" in shown and "the team's server" in shown
    assert lab.build().status == "error" and lab.build().pipelines[0].steps == ()


def test_only_the_workspace_itself_is_refused_in_commands(lab: Lab) -> None:
    commands = ["cd $DRONE_WORKSPACE && pwd", "echo /drone/srcs /my/drone/src drone/src", "echo /w"]
    lab.pipeline(f"steps: [{{name: a, image: x, commands: {commands}}}]\n")
    assert "[a] /drone/srcs /my/drone/src drone/src" in lab.push_tag("exp-1")
    lab.pipeline(f"workspace: {{path: /w}}\nsteps: [{{name: a, image: x, commands: {commands}}}]\n")
    assert "line 7: step `a`: `/w` in `commands`" in lab.push_tag("exp-2")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("name: exp", "name: a$$b", "resource not found: `${…}`, `$$` and"),
    ("kind: pipeline", "kind: pipelines", "resource not found: write `kind: pipeline` (line 1)"),
])
def test_a_pipeline_that_the_runner_does_not_find_says_why(
        old: str, new: str, message: str) -> None:
    text = PIPELINE.replace(old, new)
    with pytest.raises(FileError, match=re.escape(message)):
        pipeline_to_run(text, all_pipelines(text)[0].name, {})


@pytest.mark.parametrize("name", ["", "name:\n", "name: ''\n", "name: ~\n"])
def test_a_pipeline_without_a_name_is_called_default(name: str) -> None:
    text = PIPELINE.replace("name: exp\n", name)
    assert all_pipelines(text)[0].name == pipeline_to_run(text, "default", {}).name == "default"


def test_a_pipeline_that_cannot_run_here_does_not_block_others(lab: Lab) -> None:
    image = PIPELINE.replace("exp", "image") + "steps: [{name: p, image: plugins/docker}]\n"
    runs = PIPELINE + "steps: [{name: a, image: x, commands: [echo runs]}]\n"
    lab.pipeline("", f"{image}---\n{runs}")
    assert "[a] runs" in lab.push_tag("exp-1")


@pytest.mark.parametrize(("text", "message"), [
    ("# comment\n---\n" + PIPELINE, "missing kind attribute"),
    (PIPELINE + "steps: [", "yaml: line"),
    (PIPELINE + "steps: [{name: a, image: x, commands: make}]\n", "line 6: cannot unmarshal"),
    (PIPELINE + "---\n" + PIPELINE, "duplicate pipeline names"),
    (PIPELINE + "depends_on: [later]\n", "invalid or unknown pipeline dependency"),
])
def test_a_file_that_drone_rejects_is_a_build_in_error(lab: Lab, text: str, message: str) -> None:
    lab.pipeline("", text)
    assert message in lab.push_tag("exp-1")
    assert lab.build().status == "error" and message in lab.build().error


KDL = """\
kind: secret
name: minio-key-id
get:
  path: mlflow-server-secret
  name: AWS_ACCESS_KEY_ID
---
kind: secret
name: minio-secret
get:
  path: mlflow-server-secret
  name: AWS_SECRET_ACCESS_KEY
---
kind: pipeline
type: kubernetes
name: application-examples
trigger:
  ref:
  - refs/tags/run-examples-*
environment:
  PYTHONPATH: /drone/src/lab
  MINIO_DATA_FOLDER: /shared-storage/lab/data
  MLFLOW_URL: http://mlflow-server:5000
  MLFLOW_EXPERIMENT: lab
steps:
- name: sklearn-example
  image: runner:1.1.2
  commands:
  - echo $PYTHONPATH "$KEY"
  environment:
    KEY: {from_secret: minio-key-id}
  volumes:
  - {name: shared-storage, path: /shared-storage}
- name: pytorch-example
  image: runner:1.1.2
  commands: [echo second]
volumes:
- name: shared-storage
  claim:
    name: received-data-claim
"""


def test_a_pipeline_of_kdl_is_understood_except_for_its_volumes(lab: Lab) -> None:
    lab.pipeline("", KDL)
    shown = lab.push_tag("run-examples-v1")
    assert lab.build().status == "error"
    assert "line 36: `volumes`" in shown and "remove it to run on this machine" in shown
    lab.pipeline("", KDL[:KDL.index("volumes:\n- name: shared")])  # Drone ignores the step's then
    shown = lab.push_tag("run-examples-v2")
    assert lab.build(2).status == "success"
    assert "/src/lab" in shown and shown.index("/src/lab") < shown.index("[pytorch-example] second")
