"""Fixtures for the runner: small labs that hold only this library and a `.drone.yml`."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

TEMPLATE = Path(__file__).parents[2]
SOURCE = TEMPLATE / "src"
LAB_FOLDER = TEMPLATE / "{{cookiecutter.project_slug}}"

GIT_VARIABLES = {
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann Lee", "GIT_AUTHOR_EMAIL": "ann@lab.example",
    "GIT_COMMITTER_NAME": "Ann Lee", "GIT_COMMITTER_EMAIL": "ann@lab.example",
}
PIPELINE = """\
kind: pipeline
type: kubernetes
name: exp
trigger:
  ref: [refs/tags/exp-*]
"""
# A shell command that waits for the file `.lab/state.go`.
WAIT = 'timeout 60 sh -c "until test -e $LAB_STATE.go; do sleep 0.1; done"'


@dataclass
class Lab:
    """A lab on disk, with methods for what a person would do in it."""

    path: Path

    def write(self, name: str, text: str) -> None:
        """Write a file of the lab."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def pipeline(self, steps: str, head: str = PIPELINE) -> None:
        """Write and commit `.drone.yml`."""
        self.write(".drone.yml", head + textwrap.dedent(steps))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "A commit")

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the lab; its stdout holds its stderr too."""
        return subprocess.run(command, cwd=self.path, text=True,
                              env={**os.environ, **GIT_VARIABLES, **variables},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def git(self, *arguments: str, **variables: str) -> str:
        """Run git and return its output, without `remote:` and trailing blanks."""
        done = self.run("git", *arguments, **variables)
        assert done.returncode == 0, done.stdout
        lines = (line.removeprefix("remote: ").rstrip() for line in done.stdout.splitlines())
        return "\n".join("" if line == "remote:" else line for line in lines)

    def push_tag(self, tag: str, **variables: str) -> str:
        """Tag the current commit, push the tag and return the output."""
        self.git("tag", "-f", tag)
        return self.git("push", "-f", "origin", f"refs/tags/{tag}", **variables)

    def start_push(self, *arguments: str,
                   shown: int | IO[str] = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start a push in the background; its output goes to `shown`."""
        return subprocess.Popen(["git", "push", *arguments], cwd=self.path, text=True,
                                env={**os.environ, **GIT_VARIABLES}, stdout=shown,
                                stderr=subprocess.STDOUT)

    def lab(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the lab command."""
        return self.run(sys.executable, "vendor/taglab", *arguments)

    def build(self, number: int = 1):
        """Return the record of a build."""
        from taglab.runner.builds import Builds
        return Builds(self.path).load(number)

    def steps(self, number: int = 1) -> dict[str, str]:
        """Return the status of each step of a build's first pipeline."""
        return {step.name: step.status for step in self.build(number).pipelines[0].steps}


def new_lab(folder: Path) -> Lab:
    """Make a lab: a git repository with one commit and the local remote."""
    from taglab.runner.remote import make_remote
    lab = Lab(folder)
    (lab.path / "vendor").mkdir(parents=True)
    for name in ("taglab", "taglab/sitecustomize.py"):
        (lab.path / "vendor" / Path(name).name).symlink_to(SOURCE / name)
    lab.write(".gitignore", ".lab/\n.venv/\nvendor/\n__pycache__/\n")
    lab.git("init", "-q", "-b", "main")
    lab.git("add", "-A")
    lab.git("commit", "-q", "-m", "First")
    make_remote(lab.path)
    return lab


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[[str], Lab]:
    """Return a function that makes a lab; see `new_lab`."""
    def make(name: str = "my-lab") -> Lab:
        return new_lab(tmp_path / name)
    return make


@pytest.fixture
def lab(make_lab: Callable[[], Lab]) -> Lab:
    """Return a lab in a new folder."""
    return make_lab()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
