"""A lab from before 0.2 takes this release: it runs, and what it had found is still there."""
from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.bake.test_cruft import cruft
from tests.cli.test_migrate import CACHE, commit, old_template  # noqa: F401  a fixture
from tests.conftest import files_below
from tests.runner.conftest import Lab

MAIN = "lab/processes/mine/main.py"
MINE = """\
import mlflow

from lib.config import load_config
from lib.tracking import start_run

with start_run(__file__, load_config(__file__)):
    mlflow.log_metric("error", {error})
"""
PIPELINE = """\
---
kind: pipeline
type: kubernetes
name: mine
trigger:
  ref: [refs/tags/mine-*]
environment: {PYTHONPATH: "/drone/src/lab:/drone/src/vendor", MLFLOW_EXPERIMENT_NAME: my-lab}
steps: [{name: mine, image: mine, commands: [python lab/processes/mine/main.py]}]
"""


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs MLflow")
def test_a_lab_of_the_release_before_is_updated_and_runs_with_its_old_results(
        old_template: Path, template: Path, tmp_path: Path,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))  # environments are made once for all tests
    source = Lab(old_template)
    source.git("init", "-q", "-b", "main")
    commit(source)
    done = cruft("create", str(source.path), "-y", "--extra-context", '{"deep_learning": "none"}',
                 cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lab = Lab(tmp_path / "my-lab")
    lab.write(MAIN, MINE.format(error=0.25))
    lab.write("lab/processes/mine/config.toml", "seed = 1\n")
    commit(lab)
    old = lab.run(sys.executable, MAIN, PYTHONPATH=str(lab.path / "lab"),
                  MLFLOW_EXPERIMENT_NAME="my-lab")
    assert old.returncode == 0, old.stdout

    for name in files_below(source.path) - files_below(template):
        (source.path / name).unlink()
    shutil.copytree(template, source.path, dirs_exist_ok=True, symlinks=True)
    commit(source)
    assert cruft("update", "-y", cwd=lab.path).returncode == 0
    commit(lab)
    done = lab.lab("migrate", "--yes")
    assert done.returncode == 0, done.stdout
    main = (lab.path / MAIN).read_text().replace("0.25", "0.125")
    lab.write(MAIN, main)
    lab.write(".drone.yml", (lab.path / ".drone.yml").read_text() + PIPELINE)
    commit(lab)

    shown = lab.push_tag("mine-v1")
    assert re.search(r"build 1 +success", shown), shown
    listed = lab.lab("runs")
    assert [re.findall(r"mine-v1|error [\d.]+", line) for line in listed.stdout.splitlines()
            if line.startswith("mine")] == [["error 0.25"], ["mine-v1", "error 0.125"]], (
                listed.stdout)
