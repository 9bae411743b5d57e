"""`lab image` and `lab connect`: moving a lab from this machine to a team's server."""
from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.conftest import LAB_FOLDER, PIPELINE, Lab

DRONE = PIPELINE + """\
x-image: &image 'team/runner:0000'   # an anchor

steps:
- name: a
  image: team/runner:0000   # as every step has it: team/runner:0000
  commands: [python x.py]
- {name: b, image: "team/runner@sha256:12ab", commands: [pytest]}
- name: c
  image: *image
  commands: [echo c]
- name: d
  image: team/runner-of-others:1
  commands: [echo team/runner:0000]
---
kind: pipeline
type: kubernetes
name: publish-image
trigger:
  ref: [refs/tags/publish-image-*]
steps:
- name: publish
  image: plugins/kaniko:1
  settings:
    repo: team/runner
    password: {from_secret: registry_password}
"""


@pytest.fixture
def server_lab(lab: Lab) -> Lab:
    """Return a lab whose steps have an image."""
    lab.write(".drone.yml", DRONE)
    lab.write("requirements.txt", "six==1.17.0\n")
    lab.git("add", "-A")
    lab.git("commit", "-q", "-m", "An image")
    return lab


@pytest.fixture
def address() -> Iterator[str]:
    """Return the address of a server that has only the page /health."""
    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 403)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def hash_of(lab: Lab) -> str:
    from taglab.runner.requirements import requirements_hash
    return requirements_hash(lab.path)


def test_image_changes_every_step_and_nothing_else(server_lab: Lab) -> None:
    assert server_lab.lab("lint", "--server").stdout.count("was not built") == 2  # of two names
    done = server_lab.lab("image")
    image = f"team/runner:{hash_of(server_lab)}"
    assert done.returncode == 0 and f"--tag {image} ." in done.stdout, done.stdout
    wanted = (DRONE.replace("&image 'team/runner:0000'", f"&image '{image}'")
              .replace("  image: team/runner:0000 ", f"  image: {image} ")
              .replace('"team/runner@sha256:12ab"', f'"{image}"'))
    assert (server_lab.path / ".drone.yml").read_text() == wanted
    assert "already names" in server_lab.lab("image").stdout
    assert "was not built" not in server_lab.lab("lint", "--server").stdout


def test_image_can_change_the_name(server_lab: Lab) -> None:
    assert server_lab.lab("image", "registry.example:5000/lab:old").returncode == 0
    text = (server_lab.path / ".drone.yml").read_text()
    assert text.count(f" registry.example:5000/lab:{hash_of(server_lab)} ") == 1
    assert "    repo: registry.example:5000/lab\n" in text
    assert "image: team/runner-of-others:1" in text and "echo team/runner:0000" in text


def test_image_refuses_what_is_not_an_image_and_changes_nothing(lab: Lab) -> None:
    lab.write("requirements.txt", "")
    lab.pipeline("steps: [{name: a, image: x, commands: [echo]}]\n")
    assert "no step of .drone.yml runs Python" in lab.lab("image").stdout
    lab.write(".drone.yml", DRONE)
    refused = lab.lab("image", "Team/Runner")
    assert refused.returncode == 1 and "lab image HOST/TEAM/my-lab" in refused.stdout
    assert (lab.path / ".drone.yml").read_text() == DRONE


def test_a_pipeline_of_plugins_is_an_error_here_but_blocks_no_other(server_lab: Lab) -> None:
    refused = server_lab.push_tag("publish-image-1")
    assert "no `commands`" in refused and "publish" in refused
    assert server_lab.build(1).status == "error"
    server_lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n"
                        + DRONE[DRONE.index("---"):])
    server_lab.push_tag("exp-1")
    assert server_lab.build(2).status == "success" and server_lab.steps(2)["a"] == "success"


def test_connect_makes_the_server_origin_and_lists_what_is_left_to_do(
        server_lab: Lab, address: str, tmp_path: Path) -> None:
    server_lab.git("init", "-q", "--bare", str(tmp_path / "team" / "lab.git"))
    url = f"file://{tmp_path}/team/lab.git"
    server_lab.write(".drone.yml", DRONE.replace("steps:\n- name: a", f"""\
environment:
  MLFLOW_TRACKING_URI: {address}
  MLFLOW_S3_ENDPOINT_URL: {address}
  MLFLOW_URL: http://127.0.0.1:9
steps:
- name: a""", 1))
    server_lab.write("lab/processes/wide/config.toml", "[cluster]\nparallelism = 2\n")
    before = server_lab.lab("lint").stdout
    done = server_lab.lab("connect", url)
    assert done.returncode == 0, done.stdout
    assert server_lab.git("config", "remote.origin.url") == url
    assert server_lab.git("config", "remote.local.url") == ".lab/origin.git"
    assert f"{address}/health  answers\n" in done.stdout
    assert f"{address}/  answers\n" in done.stdout
    assert "http://127.0.0.1:9/health  no answer (" in done.stdout
    assert "drone repo enable team/lab" in done.stdout
    assert "--repository team/lab --name registry_password" in done.stdout
    assert "for wide:\n  kubectl apply" in done.stdout and "--trusted" not in done.stdout
    again = server_lab.lab("connect", url)
    assert again.returncode == 0 and "$ git" not in again.stdout
    assert "was not built" not in before and "was not built" in server_lab.lab("lint").stdout
    server_lab.git("push", "-q", "origin", "main")
    server_lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    server_lab.git("tag", "exp-1")
    shown = server_lab.git("push", "local", "exp-1")
    assert "runs" in shown and "`x` changes with every release" in shown


def test_connect_says_when_drone_must_trust_the_repository(server_lab: Lab, tmp_path: Path) -> None:
    server_lab.git("init", "-q", "--bare", str(tmp_path / "lab.git"))
    server_lab.write(".drone.yml", DRONE.replace(
        "---", "volumes: [{name: data, claim: {name: data}}]\n---\nkind: secret\n"
        "name: registry_password\nget: {path: a, name: b}\n---"))
    shown = server_lab.lab("connect", f"file://{tmp_path}/lab.git").stdout
    assert "drone repo update --trusted" in shown and "drone secret" not in shown


@pytest.mark.parametrize("url, words", [
    ("https://127.0.0.1:9/lab.git", "Create the repository on the server"),
    ("lab", "is not the URL"), ("--upload-pack=x/y", "is not the URL"),
    (".lab/origin.git", "is not the URL")])
def test_connect_changes_nothing_when_it_fails(server_lab: Lab, url: str, words: str) -> None:
    before = (server_lab.path / ".git/config").read_text()
    done = server_lab.lab("connect", "--", url)
    assert done.returncode == 1 and words in done.stdout, done.stdout
    assert (server_lab.path / ".git/config").read_text() == before


@pytest.mark.parametrize("remotes, commands", [
    ({}, ["add origin URL"]),
    ({"local": ".lab/origin.git"}, ["add origin URL"]),
    ({"origin": ".lab/origin.git"}, ["rename origin local", "add origin URL"]),
    ({"origin": ".lab/origin.git", "local": ".lab/origin.git"},
     ["remove origin", "add origin URL"]),
    ({"origin": "a/b", "local": ".lab/origin.git"}, []),
    ({"origin": "c/d"}, "git remote set-url origin a/b"),
    ({"origin": ".lab/origin.git", "local": "c/d"}, "git remote rename local")])
def test_connect_runs_the_commands_that_the_existing_remotes_need(
        remotes: dict[str, str], commands: list[str] | str) -> None:
    from taglab.cli.connect import remote_commands
    from taglab.errors import LabError
    if isinstance(commands, str):
        with pytest.raises(LabError, match=commands):
            remote_commands(remotes, "a/b")
    else:
        assert [" ".join(command).replace("a/b", "URL") for command
                in remote_commands(remotes, "a/b")] == [f"remote {each}" for each in commands]


def test_the_pipeline_for_gpu_nodes_that_a_page_shows_is_valid() -> None:
    from taglab.engines.drone.decide import pipeline_to_run
    from taglab.engines.drone.lint import lint
    page = (LAB_FOLDER / "lab/docs/scaling.md").read_text(encoding="utf-8")
    [text] = re.findall(r"(?ms)^```yaml\n(kind: pipeline\n.*?)^```$", page)
    pipeline = pipeline_to_run(text, "train-large", {})
    assert pipeline.node_selector and pipeline.tolerations[0].key == "nvidia.com/gpu"
    assert lint(text, goals=["train_large"], requirements="HASH") == []
