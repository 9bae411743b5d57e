"""What may be imported: the runner and the cli need little, and packages load libraries late."""
from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import SOURCE

PACKAGE = SOURCE / "taglab"
ALLOWED = {*sys.stdlib_module_names, "taglab", "yaml", "click"}
HEAVY = {"mlflow", "torch", "optuna", "numpy", "pandas"}


def imported_packages(file: Path) -> set[str]:
    """Return the top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("name", [
    "runner", "engines", "cli", "errors.py", "lazy.py", "lab.py", "hashes.py", "disk.py"])
def test_the_runner_and_the_cli_need_no_package_but_pyyaml_and_click(name: str) -> None:
    files = list((PACKAGE / name).rglob("*.py")) or [PACKAGE / name]
    foreign = {file.relative_to(PACKAGE).as_posix(): packages for file in files
               if (packages := imported_packages(file) - ALLOWED)}
    assert foreign == {}


@pytest.mark.parametrize("module", [
    "taglab", "taglab.tracking", "taglab.search", "taglab.training", "taglab.cluster",
    "taglab.goals", "taglab.datasets", "taglab.results"])
def test_importing_a_package_loads_no_heavy_library(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCE, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())
