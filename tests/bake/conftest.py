"""Fixtures for tests that get the template, and its updates, from a git repository."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import git


def commit(repository: Path) -> None:
    """Commit everything."""
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "--message=x", cwd=repository)


def copy_to_repository(template: Path, folder: Path) -> Path:
    """Copy the template to a folder, make a git repository of it, and return the folder."""
    shutil.copytree(template, folder, symlinks=True)
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    commit(folder)
    return folder


@pytest.fixture
def source(template: Path, person: Path, tmp_path: Path) -> Path:
    """Return a git repository of the template that a test may change."""
    return copy_to_repository(template, tmp_path / "taglab")
