"""The library that a commit carries: named by each run, and older ones beside newer ones."""
from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taglab import __version__

from .conftest import AUTHOR, ONE_KIND, TEMPLATE, BakedLab

BEFORE_THE_PACKAGE = "d4c972f"  # the last commit whose labs held the machinery itself


def test_every_run_names_the_release_of_its_library(lab: BakedLab) -> None:
    runs = lab.runs(tag="run-examples-v1")
    assert {run["tags"]["taglab"] for run in runs} == {__version__}
    assert not [run for run in runs if "taglab_edited" in run["tags"]]


@ONE_KIND
def test_a_run_names_what_was_edited_in_the_library(lab: BakedLab) -> None:
    edited = lab.path / "vendor" / "taglab" / "__init__.py"
    before, head = edited.read_text(), lab.ok("git rev-parse HEAD").strip()
    edited.write_text(before.replace(__version__, "7.7"))
    try:
        lab.ok("git commit -qam 'Another release' && git tag svm-search-old")
        lab.ok(f"git reset -q --hard {head} && git push origin svm-search-old")
        tagged = lab.runs(tag="svm-search-old")
        assert {run["tags"]["taglab"] for run in tagged} == {"7.7"}
        assert {run["tags"]["taglab_edited"] for run in tagged} == {"__init__.py"}
        first = lab.runs(tag="run-examples-v1", process="svm_search")
        assert [run["metrics"] for run in tagged] == [run["metrics"] for run in first]
    finally:
        lab.ok(f"git reset -q --hard {head}")


@ONE_KIND
def test_a_tag_of_the_earlier_layout_runs_with_its_own_library(
        lab: BakedLab, tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    archive = subprocess.run(["git", "archive", BEFORE_THE_PACKAGE], cwd=TEMPLATE,
                             capture_output=True)
    if archive.returncode:
        pytest.skip(f"this clone does not hold commit {BEFORE_THE_PACKAGE}")
    subprocess.run(["tar", "-x", "-C", template], input=archive.stdout, check=True)
    subprocess.run([Path(sys.executable).with_name("cookiecutter"), template, "--no-input",
                    "--output-dir", tmp_path, "deep_learning=none", "start_git=no"],
                   check=True, capture_output=True)
    shutil.copy(lab.path / "requirements.txt", tmp_path / "my-lab")  # one environment less to make
    lab.ok(f"""git worktree add -q --detach {tmp_path}/tree && cd {tmp_path}/tree &&
        git rm -rq . && cp -r {tmp_path}/my-lab/. . && git add -A &&
        git commit -qm 'The earlier layout' && git tag sklearn-example-old""", **AUTHOR)
    shown = lab.ok("git push origin sklearn-example-old")
    assert "sklearn_example" in shown and "FINISHED" in shown and "no summary" not in shown, shown
    old, new = (lab.runs(tag=tag, process="sklearn_example")
                for tag in ("sklearn-example-old", "run-examples-v1"))
    assert "taglab" not in old[0]["tags"] and new[0]["tags"]["taglab"] == __version__
    assert [run["metrics"] for run in old] == [run["metrics"] for run in new]
    assert lab.ok("git status --porcelain") == ""
