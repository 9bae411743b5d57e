"""Fixtures for what tags gave: a lab with a repository and a store."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from taglab.results import RunResult
from tests.runner.conftest import GIT_VARIABLES
from tests.tracking.conftest import empty_store, lab_folder, own_store  # noqa: F401  fixtures

Git = Callable[..., str]


@pytest.fixture
def git(lab_folder: Path) -> Git:  # noqa: F811  the fixture
    """Return a function that runs git in the lab, which is a repository with one commit."""
    def run(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=lab_folder, capture_output=True, text=True,
                              env={**os.environ, **GIT_VARIABLES})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run("init", "-q", "-b", "main")
    (lab_folder / ".gitignore").write_text("vendor/\n")
    run("add", "-A")
    run("commit", "-q", "-m", "First")
    return run


def result(process: str = "wine", **more: object) -> RunResult:
    """Return the result of a run that finished; `more` are its fields."""
    fields: dict[str, object] = {
        "run_id": "1" * 32, "name": process, "process": process, "status": "FINISHED",
        "started": 0.0, "seconds": 2.0, "params": {}, "metrics": {}, "tags": {}}
    return RunResult(**{**fields, **more})  # type: ignore[arg-type]  # of a test
