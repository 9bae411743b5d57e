"""Fixtures for all tests of the lab; `own_store`, an empty store for one test, is taglab's."""

import os
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["taglab.testing"]

# Before NumPy and PyTorch are imported: for data this small, more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SVM_SEARCH = Path(__file__).parent / "lab" / "processes" / "svm_search" / "main.py"


@pytest.fixture(scope="session")
def svm_search_store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Return a folder whose store holds a run of svm_search with two trials. Only read from it."""
    from taglab.testing import run_python

    folder = tmp_path_factory.mktemp("svm_search")
    shutil.copy(empty_store, folder)
    done = run_python(SVM_SEARCH, "parameters=tutorial", "workers=2",
                      "tutorial.gamma=[0.001, 0.1]", folder=folder, LAB_STATE=folder / "state")
    assert done.returncode == 0, done.stderr
    return folder
