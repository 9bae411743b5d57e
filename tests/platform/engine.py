"""A Docker engine for tests, with the base image of a lab's image where no registry gives it."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import TEMPLATE
from tests.runner.conftest import wait_for

DOCKERFILE = TEMPLATE / "{{cookiecutter.project_slug}}" / "runtimes" / "image" / "Dockerfile"
BASE = re.search(r"(?m)^FROM (\S+)$", DOCKERFILE.read_text(encoding="utf-8"))[1]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
# What the official image has: its own Python in /usr/local, without Debian's rules for packages.
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Engine:
    """A Docker engine; builds and containers have the network of this machine."""

    def __init__(self, host: str = "") -> None:
        self._environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}

    def docker(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the docker command; what it prints and its errors are one text."""
        return subprocess.run(["docker", *words], text=True, env=self._environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ok(self, *words: str | Path) -> str:
        """Run a docker command that must succeed; return what it printed."""
        done = self.docker(*words)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def answers(self) -> bool:
        """Say whether the engine runs."""
        return shutil.which("docker") is not None and self.docker("info").returncode == 0

    def build(self, *words: str | Path) -> None:
        """Build an image."""
        proxies = [f"--build-arg={name}" for name in PROXIES if name in os.environ]
        self.ok("build", "--network=host", *proxies, *words)

    def run(self, *words: str | Path) -> str:
        """Run a container that must succeed; return what it printed."""
        return self.ok("run", "--rm", "--network=host", *words)

    def layers(self, image: str) -> list[str]:
        """Return the layers of an image."""
        return self.ok("image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}",
                       image).split()


@contextlib.contextmanager
def docker_engine() -> Iterator[Engine]:
    """Yield the engine that runs, where it has or gets the base image; or else one of its own.

    Skips the test where there can be neither.
    """
    engine = Engine()
    if engine.answers() and (engine.docker("image", "inspect", BASE).returncode == 0
                             or engine.docker("pull", BASE).returncode == 0):
        yield engine
        return
    for program, package in (("docker", "docker.io"), ("dockerd", "docker.io"),
                             ("mmdebstrap", "mmdebstrap")):
        if not shutil.which(program):
            pytest.skip(f"needs {program} (Debian: apt install {package})")
    if os.getuid() != 0:
        pytest.skip("only root can start a Docker engine")
    with tempfile.TemporaryDirectory() as folder, _own_engine(Path(folder)) as engine:
        _make_base(engine, Path(folder))
        yield engine


@contextlib.contextmanager
def _own_engine(folder: Path) -> Iterator[Engine]:
    """Run an engine that touches nothing outside `folder`: no bridge, no firewall rules.

    Its data, some 2 GB in many small files, is in memory. Its mounts are its own: however it ends,
    they go with it.
    """
    data, socket = folder / "data", f"unix://{folder}/docker.sock"
    data.mkdir()
    (folder / "daemon.json").write_text("{}")  # not what this machine has for its own engine
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c",
             'mount -t tmpfs -o size=8g tmpfs "$0"; exec dockerd --data-root="$0" "$@"', data,
             f"--exec-root={folder}/state", f"--host={socket}", f"--pidfile={folder}/pid",
             f"--config-file={folder}/daemon.json", "--bridge=none", "--iptables=false",
             "--ip-forward=false"], stdout=log, stderr=log)
    engine = Engine(socket)
    try:
        wait_for(lambda: process.poll() is not None or engine.answers(), 60)
        if process.poll() is not None:
            last_line = (folder / "log").read_text().splitlines()[-1]
            pytest.skip(f"dockerd does not start here: {last_line}")
        yield engine
    finally:
        process.terminate()
        process.wait(60)


def _make_base(engine: Engine, folder: Path) -> None:
    """Give the engine a base image of Debian's packages."""
    assert "python:3.11" in BASE, "bookworm has Python 3.11; name the release that has another"
    configuration = folder / "pip.conf"
    configuration.write_text(f"[global]\ncert = {AUTHORITIES}\n")
    hooks = ['chroot "$1" python3 -m venv /usr/local', f"upload {configuration} /etc/pip.conf",
             f"upload {AUTHORITIES} {AUTHORITIES}"]
    done = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=apt", "--include=ca-certificates,python3-venv",
         *(f"--customize-hook={hook}" for hook in hooks), "bookworm", folder / "base.tar"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    engine.ok("import", f"--change=ENV {PATH} LANG=C.UTF-8", "--change=CMD [\"python3\"]",
              folder / "base.tar", BASE)
