"""Of many tags that are pushed at once, the newest of each experiment runs."""
from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from taglab.runner.newest_tags import older_tags, skipped_note

from .conftest import PIPELINE, Lab

ECHO = "steps: [{name: a, image: x, commands: [echo $DRONE_TAG.]}]\n"
TWO = f"{PIPELINE}{ECHO}---\n{PIPELINE.replace('exp', 'two')}{ECHO}"
BRANCH = PIPELINE.replace("exp", "main").replace("ref: [refs/tags/main-*]", "event: [push]")


def make_tags(lab: Lab) -> None:
    """Tag commits of three days: exp-v10, exp-v9 and two-v1 are of the newest but one."""
    days = [["exp-v2", "two-v2"], ["exp-v9", "exp-v10", "two-v1"], ["other-v1"]]
    for day, tags in enumerate(days, 1):
        date = f"2030-01-0{day}T12:00:00Z"
        lab.git("commit", "-q", "--allow-empty", "-m", f"Day {day}", GIT_COMMITTER_DATE=date)
        for tag in tags:
            lab.git("tag", tag)


def test_the_newest_tag_of_each_pipeline_runs_and_the_others_are_skipped(lab: Lab) -> None:
    lab.pipeline("", TWO)
    make_tags(lab)
    shown = lab.git("push", "origin", "--tags")
    builds = {lab.build(number).name: lab.build(number) for number in range(1, 6)}
    assert {name: build.status for name, build in builds.items()} == {
        "exp-v2": "skipped", "two-v2": "skipped", "exp-v9": "skipped",
        "exp-v10": "success", "two-v1": "success"}
    number = builds["exp-v9"].number
    assert "only the newest tag of each experiment runs" in shown
    assert f"build {number} is skipped. To run it, type: lab restart {number}\n" in shown
    assert "exp-v10." in shown and "exp-v9." not in shown
    assert builds["exp-v9"].pipelines[0].status == "skipped" and not builds["exp-v9"].started
    listed = lab.lab("builds").stdout
    assert f"skipped: lab restart {number} " in listed
    assert json.loads(lab.lab("builds", "--json").stdout)[0]["status"] in ("skipped", "success")
    assert f"type: lab restart {number}\n" in lab.lab("logs", str(number)).stdout
    assert "already ended: skipped" in lab.lab("cancel", str(number)).stdout
    status = lab.lab("status").stdout
    assert "exp-v10" in status and "two-v1" in status and "skipped" not in status
    again = lab.lab("restart", str(number))
    assert "[a] exp-v9." in again.stdout and again.returncode == 0
    assert lab.build(6).parent == number and lab.build(6).status == "success"
    assert "exp-v9" in lab.lab("status").stdout


def test_the_tags_of_each_experiment_of_a_pipeline_are_looked_at_by_themselves(lab: Lab) -> None:
    lab.pipeline(ECHO, PIPELINE.replace("[refs/tags/exp-*]", "[refs/tags/exp-*, refs/tags/b-*]"))
    tags = ["b-2026-01-01", "b-2026-01-02", "exp-v1", "exp-v2"]
    for tag in tags:
        lab.git("tag", tag)
    lab.git("push", "origin", *tags)
    found = [lab.build(number) for number in range(1, 5)]
    assert {build.name for build in found if build.status == "success"} == {
        "b-2026-01-02", "exp-v2"}


def test_branches_run_beside_many_tags_and_the_limit_is_a_setting(lab: Lab) -> None:
    lab.write("runtimes/machine.toml", "[limits]\ntags_per_push = 1\n")
    lab.pipeline("", f"{TWO}---\n{BRANCH}{ECHO}")
    for tag in ("exp-v1", "exp-v2", "other-v1"):
        lab.git("tag", tag)
    shown = lab.git("push", "origin", "main", "exp-v1", "exp-v2", "other-v1")
    assert {lab.build(number).name: lab.build(number).status for number in (1, 2, 3)} == {
        "main": "success", "exp-v1": "skipped", "exp-v2": "success"}
    assert "more tags than tags_per_push = 1 ([limits] in" in shown


def test_tags_that_trigger_nothing_do_not_count(lab: Lab) -> None:
    lab.pipeline("", TWO)
    tags = ["exp-v1", "exp-v2", "exp-v3", "v1", "v2", "v3"]
    for tag in tags:
        lab.git("tag", tag)
    lab.git("push", "origin", *tags)
    assert [lab.build(number).status for number in (1, 2, 3)] == ["success"] * 3


def test_settings_that_cannot_be_read_are_the_reason_of_the_build(lab: Lab) -> None:
    lab.write("runtimes/machine.toml", "[limits]\ntags_per_push = 'many'\n")
    lab.pipeline(ECHO)
    assert "error: runtimes/machine.toml: " in lab.push_tag("exp-1")
    assert lab.build().status == "error" and "many" in lab.build().error


def test_many_skipped_builds_take_one_line() -> None:
    assert skipped_note(range(3, 9), 3).splitlines()[1:] == [
        "6 builds are skipped: 3 to 8 in lab builds. To run one, type: lab restart 3"]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("XYZ"))),
       st.permutations("abcdefgh"), st.integers(0, 9))
def test_every_pipeline_that_was_triggered_runs(
        pipelines: dict[str, list[str]], newest_first: list[str], limit: int) -> None:
    older = older_tags(pipelines, newest_first, limit)
    triggering = [tag for tag in newest_first if pipelines.get(tag)]
    newest = {next(tag for tag in triggering if name in pipelines[tag])
              for names in pipelines.values() for name in names}
    assert older == (set(triggering) - newest if len(triggering) > limit else set())
