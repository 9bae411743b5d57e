"""The package's own tests on the newest Python; `make test` runs them on the one it was given."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab_packages import TEMPLATE, lab_requirements

NEWEST = ("3.14", "3.13", "3.12")
# All that needs neither a baked lab nor PyTorch, which has other wheels for each machine.
TESTS = ("engines", "runner", "cli", "tracking", "goals", "cluster", "search", "test_config.py",
         "test_properties.py")
# What takes long and is the same for every Python: kills at any moment, labs from before 0.2,
# environments that pip makes, JupyterLab, which points a search chooses, outages of servers.
LEFT_OUT = ("runner/test_robustness.py", "cli/test_migrate.py", "runner/test_environments.py",
            "cli/test_notebook.py", "cli/test_doctor.py", "cli/test_clean.py",
            "search/test_resume.py", "search/test_order.py", "search/test_constraints.py",
            "tracking/test_outages.py", "tracking/test_schema.py", "cluster/test_runs.py")


def uv(*arguments: object, version: str = "") -> subprocess.CompletedProcess[str]:
    """Run uv; pyenv, where it is installed, is told which Python is meant."""
    return subprocess.run([sys.executable, "-m", "uv", *map(str, arguments)], text=True,
                          env={**os.environ, "PYENV_VERSION": version},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def newest_python() -> tuple[str, str] | None:
    """Return the newest version that this machine has, or that uv can fetch, and its program."""
    for version in NEWEST:
        for command in (("python", "find"), ("python", "install")):
            uv(*command, version, version=version)
        found = uv("python", "find", version, version=version)
        if found.returncode == 0:
            return version, found.stdout.strip().splitlines()[-1]
    return None


@pytest.mark.xdist_group("pythons")
def test_the_packages_own_tests_pass_on_the_newest_python(tmp_path: Path) -> None:
    newest = newest_python()
    if newest is None:
        pytest.skip(f"none of Python {', '.join(NEWEST)} is here, and uv cannot fetch one")
    version, program = newest
    requirements = tmp_path / "requirements.txt"
    pins = [*lab_requirements("none").splitlines(),  # the tools' own win: pytest has to suit xdist
            *(TEMPLATE / "requirements.txt").read_text().splitlines()]
    requirements.write_text("\n".join({pin.partition("==")[0]: pin for pin in pins}.values()))
    environment = tmp_path / "environment"
    python = environment / "bin" / "python"
    for command in (("venv", "--python", program, environment),
                    ("pip", "install", "--python", python, "--requirement", requirements)):
        done = uv(*command)
        if "error" in done.stdout and "dns" in done.stdout.lower():
            pytest.skip(f"uv cannot fetch the packages for Python {version}: {done.stdout}")
        assert done.returncode == 0, done.stdout
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *(f"--ignore=tests/{name}" for name in LEFT_OUT), *(f"tests/{name}" for name in TESTS)],
        cwd=TEMPLATE, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # Each process of a new environment would compile MLflow anew.
        env={name: value for name, value in os.environ.items()
             if name != "PYTHONDONTWRITEBYTECODE"})
    assert done.returncode == 0, done.stdout[-5000:]
    print(f"Python {version}: {done.stdout.splitlines()[-1]}")
