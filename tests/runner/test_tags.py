"""Tags: deleted ones, many at once, unusual names, and tags of anything that git can tag."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import GIT_VARIABLES, PIPELINE, Lab

ECHO = "steps: [{name: a, image: x, commands: [echo $DRONE_TAG.]}]\n"


def test_a_deleted_tag_keeps_the_commit_of_its_build(lab: Lab) -> None:
    lab.pipeline(ECHO)
    lab.push_tag("exp-1")
    commit = lab.git("rev-parse", "HEAD")
    assert "build" not in lab.git("push", "origin", ":refs/tags/exp-1")
    assert lab.build(2) is None
    for arguments in (["reflog", "expire", "--expire=now", "--all"], ["gc", "-q", "--prune=now"]):
        lab.git("--git-dir", ".lab/origin.git", *arguments)
    assert lab.git("--git-dir", ".lab/origin.git", "cat-file", "-t", commit) == "commit"
    assert "[a] exp-1." in lab.lab("restart", "1").stdout


def test_ten_tags_in_one_push_run_in_order_two_at_a_time(lab: Lab) -> None:
    lab.write("runtimes/machine.toml", "[limits]\ntags_per_push = 10\n")
    lab.pipeline("steps: [{name: a, image: x, commands: [sleep 0.3]}]\n")
    tags = [f"exp-{number}" for number in range(10)]
    for tag in tags:
        lab.git("tag", tag)
    lab.git("push", "origin", *tags)
    builds = [lab.build(number) for number in range(1, 11)]
    assert [build.name for build in builds] == tags and lab.build(11) is None
    assert {build.status for build in builds} == {"success"}
    starts = [build.started for build in builds]
    assert starts == sorted(starts)
    for moment in starts:
        assert sum(each.started <= moment < each.finished for each in builds) <= 2


HEAD = PIPELINE.replace("ref: [refs/tags/exp-*]", "event: [tag]")


@pytest.mark.parametrize("tag", [
    "exp/deep/er", "it's", 'a"b', "$(touch${IFS}pwned)", "`touch${IFS}pwned`", "a;touch${IFS}b",
    "a|b&c", "$HOME", "exp-ünï-日本-🦊", "x" * 200, "-v1", "%s%n", "{lab}", "--help",
])
def test_a_tag_is_never_interpreted_as_code_or_an_option(lab: Lab, tag: str) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: ['printf \"%s|\" \"$DRONE_TAG\"']}]\n",
                 HEAD)
    lab.git("update-ref", f"refs/tags/{tag}", "HEAD")
    lab.git("push", "origin", f"refs/tags/{tag}")
    assert lab.build().name == tag and lab.build().status == "success"
    log = lab.lab("logs", "1").stdout
    assert f"[a] {tag}|" in log and log.startswith(f"build 1 · {tag} · ")
    assert tag in lab.lab("builds").stdout
    assert not list(lab.path.rglob("pwned"))


def test_a_tag_that_is_not_utf_8(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: ['echo \"$DRONE_TAG\" | od -c']}]\n", HEAD)
    subprocess.run([b"git", b"tag", b"exp-\xff"], cwd=lab.path, check=True,
                   env={**os.environ, **GIT_VARIABLES})
    done = subprocess.run([b"git", b"push", b"origin", b"exp-\xff"], cwd=lab.path,
                          env={**os.environ, **GIT_VARIABLES}, capture_output=True)
    assert b"e   x   p   - 377" in done.stderr and lab.build().status == "success"
    listed = subprocess.run([sys.executable, "vendor/taglab", "builds"], cwd=lab.path,
                            capture_output=True)
    assert listed.returncode == 0 and b"exp-" in listed.stdout


@pytest.mark.parametrize(("target", "reason"), [
    ("HEAD^{tree}", "it names no commit"), ("HEAD:.gitignore", "it names no commit"),
    ("HEAD~1", "the commit has no .drone.yml"),
])
def test_a_tag_of_something_else_runs_nothing(lab: Lab, target: str, reason: str) -> None:
    lab.pipeline(ECHO)
    lab.git("tag", "exp-1", target)
    lab.git("tag", "-a", "exp-2", "-m", "Annotated", target)
    shown = lab.git("push", "origin", "exp-1", "exp-2")
    for tag in ("exp-1", "exp-2"):
        assert f"{tag}: {reason}, so nothing runs" in shown
    assert lab.build() is None
