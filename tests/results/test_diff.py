"""How two tags differ: what git, their parameters and their metrics say, on one screen."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglab.goals import Goal
from taglab.results import RunResult, TagResults
from taglab.results.command import main
from taglab.results.commits import (
    CodeChange, FileChange, PackageChange, code_change, goals_at, package_changes, read_pins)
from taglab.results.diff import TagDiff, TagFacts, goal_changes
from taglab.results.diff_text import SHOWN, diff_text
from taglab.results.differences import Change, differences, pair_runs
from tests.results.conftest import Git, result
from tests.results.test_tag_results import log

names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=120)


def tag(*runs: RunResult, name: str = "wine-v1") -> TagResults:
    return TagResults(name, "a" * 40, "1", "A message", runs)


def test_what_differs_is_found_by_process_and_the_rest_is_counted() -> None:
    old = tag(result(params={"C": "1", "seed": "0", "gone": "x"}, data={"rows": "aa", "more": "b"},
                     metrics={"accuracy": 0.5, "loss": float("nan")}), result("beer"))
    new = tag(result(params={"C": "2", "seed": "0", "came": "y"}, data={"rows": "ab", "more": "b"},
                     metrics={"accuracy": 0.75, "loss": float("nan")}), result("tea"))
    found = differences(old, new)
    assert [(each.name, each.old, each.new) for each in found.params] == [
        ("C", "1", "2"), ("came", None, "y"), ("gone", "x", None)]
    assert [(each.name, each.old, each.new) for each in found.metrics] == [("accuracy", .5, .75)]
    assert [(each.name, each.old, each.new) for each in found.data] == [("rows", "aa", "ab")]
    assert (found.same_params, found.same_metrics, found.same_data) == (1, 1, 1)
    assert [run.process for run in (*found.only_old, *found.only_new)] == ["beer", "tea"]
    same = differences(old, old)
    assert not (same.params or same.metrics or same.data or same.only_old or same.only_new)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_every_run_is_in_one_pair_and_pairs_have_one_key(old: list[str], new: list[str]) -> None:
    pairs = [*pair_runs([result(name) for name in old], [result(name) for name in new],
                        lambda run: run.process)]
    assert sorted(a.process for a, _ in pairs if a) == sorted(old)
    assert sorted(b.process for _, b in pairs if b) == sorted(new)
    assert all(a.process == b.process for a, b in pairs if a and b)
    assert sum(bool(a and b) for a, b in pairs) == sum(
        min(old.count(name), new.count(name)) for name in "abc")


def test_code_between_two_commits_is_their_commits_and_files(git: Git, lab_folder: Path) -> None:
    first = git("rev-parse", "HEAD")
    (lab_folder / "a file.txt").write_text("one\ntwo\n")
    (lab_folder / "picture").write_bytes(b"\0\1")
    git("add", "-A")
    git("commit", "-qm", "Second")
    git("commit", "-qm", "Third", "--allow-empty")
    third = git("rev-parse", "HEAD")
    forth = code_change(lab_folder, first, third)
    assert [line.partition(" ")[2] for line in forth.commits] == ["Third", "Second"]
    assert forth.files == (FileChange("a file.txt", 2, 0), FileChange("picture", None, None))
    back = code_change(lab_folder, third, first)
    assert back.commits == () and back.missing == 2
    assert code_change(lab_folder, first, first) == CodeChange((), 0, ())


def test_packages_that_are_added_removed_or_pinned_otherwise_are_found() -> None:
    old = "numpy==2.0  # why\nScikit_Learn==1.7\ngone==1\n-r more.txt\nextra[a]==1\n"
    new = "numpy==2.1\nscikit-learn==1.7\nfree\n-r more.txt\nextra[b]==1\n"
    assert package_changes(old, new) == (
        PackageChange("extra[a]", "1", None), PackageChange("extra[b]", None, "1"),
        PackageChange("free", None, "any version"), PackageChange("gone", "1", None),
        PackageChange("numpy", "2.0", "2.1"))


@given(st.text())
def test_any_text_can_be_read_as_requirements_and_is_the_same_as_itself(text: str) -> None:
    assert package_changes(text, text) == () and all(read_pins(text))


def test_each_tag_is_judged_by_the_goals_of_its_own_commit(git: Git, lab_folder: Path) -> None:
    table = '[[goal]]\nprocess = "wine"\nmetric = "accuracy"\nat_least = {}\n'
    (lab_folder / "goals").mkdir()
    first = git("rev-parse", "HEAD")
    commits = []
    for bound in ("0.5", "0.9", "wrong"):
        (lab_folder / "goals/goals.toml").write_text(table.format(bound))
        git("add", "-A")
        git("commit", "-qm", bound)
        commits.append(git("rev-parse", "HEAD"))
    old, new, wrong = (goals_at(lab_folder, commit) for commit in commits)
    assert old == [Goal("wine", "accuracy", 0.5, True)]
    assert wrong == goals_at(lab_folder, first) == []
    run = tag(result(metrics={"accuracy": 0.75}))
    [change] = goal_changes(old, new, run, run)
    assert (change.old, change.new, change.old_met, change.new_met) == (0.5, 0.9, True, False)
    assert not change.is_same
    [same] = goal_changes(old, old, run, run)
    assert same.is_same and same.old_met
    [worse] = goal_changes(old, old, run, tag(result(metrics={"accuracy": 0.25})))
    assert not worse.is_same
    assert goal_changes(old, old, tag(), tag()) == ()
    [gone] = goal_changes(old, [], run, run)
    assert gone.new is None and gone.new_met is None and not gone.is_same


FACTS = TagFacts("wine-v1", "a" * 40, "1", "First", {"wine": "FINISHED"})
NOTHING = TagDiff(FACTS, replace(FACTS, tag="wine-v2"), CodeChange((), 0, ()), (), (), (), (), (),
                  (), {"params": 4, "packages": 5, "data": 0, "metrics": 2}, {})


def test_what_is_the_same_is_one_line() -> None:
    assert diff_text(NOTHING).splitlines() == [
        "wine-v1  aaaaaaa  build 1  First", "wine-v2  aaaaaaa  build 1  First", "",
        "code       the same commit", "parameters the same (4)", "packages   the same (5)",
        "data       none is recorded", "goals      none is set for them", "metrics    the same (2)"]


def test_numbers_stand_side_by_side_with_their_difference_and_main_metrics_first() -> None:
    metrics = tuple(Change("wine", name, 0.5, 0.25) for name in ("loss", "test_accuracy"))
    shown = diff_text(replace(NOTHING, metrics=(*metrics, Change("wine", "new", None, 1.0)),
                              times=(Change("wine", "seconds", 10.0, 12.5),))).splitlines()
    assert shown[8:11] == [
        "metrics    3 of 5 differ",
        "           wine  test_accuracy   0.5  → 0.25  -0.25  -50.00 %",
        "           wine  loss            0.5  → 0.25  -0.25  -50.00 %"]
    assert "time       wine  10.0 s  → 12.5 s  +2.5 s  +25.00 %" in shown


@settings(max_examples=50)
@given(names, names, st.integers(0, 60), st.floats())
def test_it_fits_a_screen_of_100_columns_whatever_the_names(
        name: str, value: str, count: int, number: float) -> None:
    changes = tuple(Change(name, f"{name}{index}", value, f"{value}x") for index in range(count))
    numbers = tuple(Change(name, f"{name}{index}", number, -1.5) for index in range(count))
    shown = diff_text(replace(
        NOTHING, old=replace(FACTS, tag=name, message=value, statuses={name: "FAILED"}),
        code=CodeChange((value,) * count, 1, (FileChange(name, 1, None),) * count),
        params=changes, data=changes, metrics=numbers, times=numbers,
        packages=tuple(PackageChange(name, value, None) for _ in range(count))))
    assert max(map(len, shown.splitlines())) <= 100
    assert len(shown.splitlines()) <= 6 + 7 * (SHOWN + 2)


def test_the_command_tells_the_difference_and_where_the_ui_shows_it(
        git: Git, own_store, lab_folder, monkeypatch, capsys) -> None:
    for version, score in ((1, 0.5), (2, 0.25)):
        (lab_folder / "notes.txt").write_text(f"{version}\n")
        git("add", "-A")
        git("commit", "-qm", f"Version {version}")
        git("tag", f"wine-v{version}")
        log(monkeypatch, f"wine-v{version}", git("rev-parse", "HEAD"), version, score)
    assert main(["diff", "wine-v1", "wine-v2"]) == 0
    shown = capsys.readouterr().out
    assert "1 commit, 1 file +1 -1" in shown and "wine  score  0.5  → 0.25  -0.25" in shown
    assert "after: lab ui\nhttp://127.0.0.1:5000/#/compare-runs?runs=[%22" in shown
    assert main(["diff", "--json", "wine-v1", "wine-v2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"] == [{"run": "wine", "name": "score", "old": 0.5, "new": 0.25}]
    assert main(["diff", "wine-v1", "wine-v9"]) == 3
    assert "error: there is no tag wine-v9" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="3"):
        main(["diff", "wine-v1"])
