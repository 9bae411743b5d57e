"""Fixtures for code that runs inside a lab: the folder of a lab, and a store for each test."""

from pathlib import Path

import pytest

from taglab.testing import empty_store, own_store  # noqa: F401  fixtures
from tests.runner.conftest import SOURCE


@pytest.fixture(autouse=True)
def lab_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a lab, in which this process runs during the test."""
    lab = tmp_path_factory.mktemp("labs") / "my-lab"
    (lab / "vendor").mkdir(parents=True)
    (lab / "vendor" / "taglab").symlink_to(SOURCE / "taglab")
    (lab / "pyproject.toml").write_text('[project]\nname = "my-lab"\n')
    monkeypatch.setenv("LAB_ROOT", str(lab))
    monkeypatch.chdir(lab)
    return lab
