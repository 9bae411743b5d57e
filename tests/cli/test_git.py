"""What `lab init` and `lab launch` do with a user's settings of git, worktrees, foreign folders."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner.conftest import SOURCE, Lab

RUNS = "steps: [{name: a, image: x, commands: ['echo $DRONE_BUILD_NUMBER. $DRONE_TAG']}]\n"


def test_launch_signs_nothing_and_pushes_one_tag(lab: Lab, tmp_path: Path) -> None:
    lab.pipeline(RUNS)
    lab.git("tag", "-m", "annotated", "exp-v1")
    config = tmp_path / "config"
    for name in ("tag.gpgSign", "push.gpgSign", "push.followTags"):
        lab.git("config", "--file", str(config), name, "true")
    lab.git("config", "--file", str(config), "push.pushOption", "ci.skip")
    lab.git("config", "--file", str(config), "column.ui", "always")
    done = lab.run("python3", "vendor/taglab", "launch", "exp", GIT_CONFIG_GLOBAL=str(config),
                   GIT_EDITOR="false")
    assert done.returncode == 0 and "[a] 1. exp-v2" in done.stdout, done.stdout
    assert lab.git("cat-file", "-t", "exp-v2") == "commit" and lab.build(2) is None


def test_a_new_module_is_not_committed_whatever_status_shows(lab: Lab, tmp_path: Path) -> None:
    lab.pipeline(RUNS)
    lab.git("config", "status.showUntrackedFiles", "no")
    lab.write("new.py", "")
    assert "?? new.py" in lab.lab("launch", "exp").stdout and lab.git("tag") == ""


def test_a_new_worktree_wants_its_own_remote_before_a_launch(lab: Lab, tmp_path: Path) -> None:
    from taglab.runner.remote import make_remote
    lab.pipeline(RUNS)
    lab.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    tree = Lab(tmp_path / "tree")
    (tree.path / "vendor").mkdir()
    (tree.path / "vendor" / "taglab").symlink_to(SOURCE / "taglab")
    refused = tree.lab("launch", "exp")
    assert refused.returncode == 1 and "no local remote. Type: lab init" in refused.stdout
    assert tree.git("tag") == ""
    assert make_remote(tree.path) == "origin"
    launched = tree.lab("launch", "exp")
    assert launched.returncode == 0 and "[a] 1. exp-v1" in launched.stdout, launched.stdout
    assert lab.build(1) is None and tree.build(1)


def test_init_says_what_git_says_of_a_folder_of_another_owner(lab: Lab) -> None:
    done = lab.run("python3", "vendor/taglab", "init", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert done.returncode == 1 and "git init" not in done.stdout
    assert "detected dubious ownership" in done.stdout
    assert f"git config --global --add safe.directory {lab.path}" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user whom nobody knows")
def test_a_user_without_a_home_is_told_to_name_one() -> None:
    program = ("import os; from taglab.runner.environment import environments_folder\n"
               "os.setuid(987654); environments_folder()")
    variables = {name: value for name, value in os.environ.items()
                 if name not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", program], text=True, stderr=subprocess.PIPE,
                          env={**variables, "PYTHONPATH": str(SOURCE)})
    assert "LabError: this user has no home folder" in done.stderr
    assert done.stderr.endswith("Type: export HOME=FOLDER\n")
