"""The MLflow server of mlflow.yaml, run for real on the databases and the S3 server beside it."""
from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import pytest

from tests.lab.conftest import BakedLab, bake
from tests.lab.servers import Server, free_port, running
from tests.runner.conftest import wait_for

from .conftest import COMPOSE
from .servers import (
    ADDRESSES, PASSWORDS, answers_probes, container, databases, environment, probes, psql,
    replaced, s3_server)

pytestmark = pytest.mark.xdist_group("platform-servers")
RUN = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("accuracy", 0.9)
    mlflow.log_text("what a run wrote", "report.txt")
print(run.info.run_id, run.info.artifact_uri, mlflow.artifacts.load_text(
    run.info.artifact_uri + "/report.txt"))
"""


@dataclass
class Team:
    """The servers of a team and a lab that uses them."""

    lab: BakedLab
    mlflow: Server
    s3: Server
    database: int

    @property
    def uri(self) -> str:
        """The server's address under a name that it knows."""
        return f"http://localhost:{self.mlflow.port}"

    def run(self, password: str = PASSWORDS["s3-lab"]) -> list[str]:
        """Make a run with an artifact, as a lab does; return its id, address and text."""
        keys = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": password}
        return self.lab.ok(
            f"python -c '{RUN}'", MLFLOW_TRACKING_URI=self.uri,
            MLFLOW_S3_ENDPOINT_URL=self.s3.uri, **keys).splitlines()[-1].split(maxsplit=2)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The platform's stores and MLflow server. Its image is a lab's environment here."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "lab").mkdir()
    lab = bake(folder / "lab", deep_learning="none")
    lab.ok("python3 vendor/taglab init")
    with databases(folder / "postgres") as database, s3_server(folder / "s3") as s3:
        port = free_port()
        changes = {"postgres:5432": f"127.0.0.1:{database}", "http://s3:9000": s3.uri,
                   "--host 0.0.0.0": "--host 127.0.0.1", "--port 5000": f"--port {port}"}
        values = {name: replaced(value, changes) for name, value in environment(
            "mlflow-server").items()}
        command = [replaced(word, changes) for word in container("mlflow-server")["command"]]
        assert f"127.0.0.1 --port {port}" in command[-1]
        server = Server(command, folder / "mlflow", port, {
            **values, "HOME": str(folder), "PATH": f"{lab.path}/.venv/bin:{os.environ['PATH']}"})
        with running(server):
            wait_for(lambda: answers_probes("mlflow-server", server.uri), 120)
            yield Team(lab, server, s3, database)


def test_a_run_with_an_artifact_goes_to_postgresql_and_s3(team: Team) -> None:
    run, place, text = team.run()
    assert place.startswith("s3://mlflow/") and text == "what a run wrote"
    query = f"SELECT value FROM metrics WHERE run_uuid = '{run}'"
    found = psql(team.database, "mlflow", "mlflow", query, PASSWORDS["postgres-mlflow"])
    assert found.stdout.strip() == "0.9"
    stored = boto3.client(
        "s3", endpoint_url=team.s3.uri, region_name="us-east-1", aws_access_key_id="mlflow",
        aws_secret_access_key=PASSWORDS["s3-mlflow"]).get_object(
            Bucket="mlflow", Key=f"{place.removeprefix('s3://mlflow/')}/report.txt")
    assert stored["Body"].read() == b"what a run wrote"


def test_the_server_lists_artifacts_with_its_own_key(team: Team) -> None:
    run = team.run()[0]
    with urllib.request.urlopen(
            f"{team.uri}/api/2.0/mlflow/artifacts/list?run_id={run}") as answer:
        assert [item["path"] for item in json.load(answer)["files"]] == ["report.txt"]
    with urllib.request.urlopen(
            f"{team.uri}/get-artifact?run_id={run}&path=report.txt") as answer:
        assert answer.read() == b"what a run wrote"


def test_a_lab_with_a_wrong_key_writes_no_artifact(team: Team) -> None:
    with pytest.raises(AssertionError, match="SignatureDoesNotMatch"):
        team.run("wrong")


def status(uri: str, **headers: str) -> int:
    """Return the status of an answer."""
    try:
        return urllib.request.urlopen(urllib.request.Request(uri, headers=headers)).status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_known_names_of_the_server_are_answered(team: Team) -> None:
    page = f"{team.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    for host in (*ADDRESSES.settings()["mlflow-hosts"].split(",")[:2], "node1.example:3"):
        assert status(page, Host=host) == 200, host
    assert status(page, Host="evil.example") == 403
    for path in probes("mlflow-server"):  # kubelet comes by the address of the pod
        assert status(team.uri + path, Host="10.1.2.3:5000") == 200


def test_a_foreign_page_may_not_change_runs(team: Team) -> None:
    page = f"{team.uri}/api/2.0/mlflow/experiments/create"

    def create(name: str, origin: str) -> int:
        request = urllib.request.Request(
            page, json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json", "Origin": origin})
        try:
            return urllib.request.urlopen(request).status
        except urllib.error.HTTPError as error:
            return error.code
    assert create("from-its-own-page", ADDRESSES.mlflow) == 200
    assert create("from-elsewhere", "http://evil.example") == 403


def test_compose_runs_the_same_server() -> None:
    service = COMPOSE["services"]["mlflow-server"]
    assert [word.replace("$$", "$") for word in service["command"]] == (
        container("mlflow-server")["command"])
    cluster = environment("mlflow-server")
    for name, value in service["environment"].items():
        assert "${" in value or value == cluster[name], name
    only_there = {"HOME", "POSTGRES_PASSWORD"}  # one is for a read-only image, one is in the URI
    assert set(service["environment"]) == set(cluster) - only_there
