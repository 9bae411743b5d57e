"""Labs that are baked, set up and run as a person would do it."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2]
AUTHOR = {"GIT_AUTHOR_NAME": "Ann Lee", "GIT_AUTHOR_EMAIL": "ann@lab.example",
          "GIT_COMMITTER_NAME": "Ann Lee", "GIT_COMMITTER_EMAIL": "ann@lab.example",
          "GIT_CONFIG_GLOBAL": os.devnull}
RUNS = """
import json
from taglab.tracking.summary import find_runs
from taglab.tracking import experiment_name, open_store
client = open_store()
print(json.dumps([{
    "id": run.info.run_id, "name": run.info.run_name, "status": run.info.status,
    "parent": run.data.tags.get("mlflow.parentRunId"), "tags": run.data.tags,
    "params": run.data.params, "metrics": run.data.metrics,
    "artifacts": [item.path for item in client.list_artifacts(run.info.run_id)],
} for run in find_runs(client, experiment_name())]))
"""

# For tests that are the same for each kind of lab.
ONE_KIND = pytest.mark.parametrize(
    "lab", [pytest.param("none", marks=pytest.mark.xdist_group("none"))], indirect=True)


@dataclass
class BakedLab:
    """A lab on disk."""

    path: Path
    deep_learning: str = ""
    first_push: str = ""

    def sh(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the lab, with its `.venv` activated where there is one."""
        process = self.start(command, **variables)
        printed, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, printed)

    def start(self, command: str, **variables: str) -> subprocess.Popen[str]:
        """Start such a command, in a process group of its own."""
        activate = ". .venv/bin/activate; " if (self.path / ".venv").exists() else ""
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("PYTEST", "MLFLOW", "VIRTUAL_ENV", "PYTHONDONTWRITE"))}
        return subprocess.Popen(["bash", "-c", activate + command], cwd=self.path, text=True,
                                env={**clean, **AUTHOR, **variables}, process_group=0,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ok(self, command: str, **variables: str) -> str:
        """Run a shell command that must succeed; return what it printed."""
        done = self.sh(command, **variables)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def push(self, tag: str) -> str:
        """Tag the newest commit and push the tag."""
        return self.ok(f"git tag {tag} && git push origin {tag}")

    def runs(self, variables: dict[str, str] | None = None, **tags: str) -> list[dict]:
        """Return the runs that carry these tags, oldest first; `variables` may name a server."""
        found = json.loads(self.ok(f"python -c '{RUNS}'", **(variables or {})).splitlines()[-1])
        return [run for run in found if tags.items() <= run["tags"].items()]

    def build(self, number: int) -> dict:
        """Return the record of a build."""
        return json.loads((self.path / f".lab/builds/{number}/build.json").read_text())


def bake(folder: Path, **answers: str) -> BakedLab:
    """Bake a lab with the real cookiecutter."""
    cookiecutter = Path(sys.executable).with_name("cookiecutter")
    done = subprocess.run(
        [cookiecutter, TEMPLATE, "--no-input", "--output-dir", folder,
         *(f"{name}={value}" for name, value in answers.items())],
        env={**os.environ, **AUTHOR}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return BakedLab(next(folder.iterdir()))


@pytest.fixture(scope="session", params=[  # each kind in a process of its own
    pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in ("pytorch", "none")])
def lab(request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory) -> Iterator[BakedLab]:
    """A lab of each kind whose examples have run once, as build 1."""
    made = bake(tmp_path_factory.mktemp(request.param), deep_learning=request.param)
    made.ok("python3 vendor/taglab init")
    made.first_push = made.push("run-examples-v1")
    made.deep_learning = request.param
    yield made
