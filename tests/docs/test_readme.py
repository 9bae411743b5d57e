"""What the READMEs claim is so: each claim has a test, each figure a benchmark."""
from __future__ import annotations

import ast
import json
import re
import tomllib
from itertools import takewhile
from pathlib import Path

import pytest

from taglab.cli.commands import COMMANDS, GROUPS
from tests.conftest import LAB, TEMPLATE, Bake, files_below

README = (TEMPLATE / "README.md").read_text(encoding="utf-8")
# What the README claims, by its first words, and the tests that fail when it is not so.
CLAIMS = {
    "The examples run.": [
        "tests/lab/test_runs.py::"
        "test_the_examples_reach_their_accuracy_with_what_is_known_of_each_run",
        "tests/goals/test_goals.py::test_a_build_is_judged_by_the_goals_of_what_ran_in_it"],
    "A result is a tag.": [
        "tests/lab/test_runs.py::"
        "test_the_same_tag_gives_the_same_metrics_whatever_lies_in_the_folder",
        "tests/lab/test_compare.py::"
        "test_a_tag_is_verified_and_one_that_takes_the_time_for_a_metric_is_not",
        "tests/test_tag_parameters.py::test_a_checkout_with_the_message_gives_the_parameters",
        "tests/datasets/test_entries.py::test_a_file_reaches_a_second_clone_through_a_store",
        "tests/report/test_command.py::"
        "test_a_report_tells_what_ran_and_how_it_differs_from_the_last_tag_of_the_pipeline"],
    "The laptop agrees with the server, or refuses.": [
        "tests/engines/test_drone_rows.py::test_every_row_agrees_or_is_refused",
        "tests/engines/test_lint.py::test_lint_reports_a_mistake_on_its_line_with_a_fix"],
    "Plain code.": [
        "tests/docs/test_readme.py::test_the_main_of_each_example_is_short_and_has_no_decorator"],
    "The commit carries its library.": [
        "tests/runner/test_versions.py::test_each_tag_runs_with_the_library_that_it_carries",
        "tests/bake/test_cruft.py::test_an_update_brings_the_new_library"],
    "Runs tell where they come from.": [
        "tests/tracking/test_tracking.py::test_every_run_carries_its_origin",
        "tests/tracking/test_provenance.py::"
        "test_the_patch_holds_every_change_and_does_not_touch_the_index"],
    "Runs end as they ended.": [
        "tests/tracking/test_lost_runs.py::"
        "test_the_runs_of_a_killed_process_end_as_killed_and_those_of_others_go_on",
        "tests/tracking/test_failed_start.py::"
        "test_each_way_to_fail_before_a_run_leaves_a_failed_run"],
    "What was stopped goes on.": [
        "tests/lab/test_search.py::"
        "test_a_search_killed_at_any_moment_resumes_to_the_same_finished_trials",
        "tests/lab/test_training.py::test_a_killed_training_resumes_when_its_build_is_restarted",
        "tests/lab/test_outbox.py::"
        "test_an_outage_does_not_delay_the_training_and_loses_nothing"],
    "One machine or many.": [
        "tests/cluster/test_wide_jobs.py::test_a_search_in_eight_pods_of_which_one_is_deleted",
        "tests/lab/test_training.py::test_torchrun_makes_one_run"],
}


def below(text: str, heading: str) -> str:
    """Return what stands below a heading of the second level."""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_claim_is_checked_by_a_test_that_is_there() -> None:
    claimed = re.findall(r"(?m)^- \*\*(.+?)\*\*", below(README, "What is different"))
    assert claimed == list(CLAIMS)
    for test in sum(CLAIMS.values(), []):
        file, _, name = test.partition("::")
        body = ast.parse((TEMPLATE / file).read_text(encoding="utf-8")).body
        assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}, test


def test_every_figure_comes_from_a_benchmark_or_from_the_code() -> None:
    results = (TEMPLATE / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    python = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]["requires-python"]
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", README, flags=re.DOTALL)
    figures = re.findall(r"(?<!\w)\d[\d.,]*\d|(?<!\w)\d", prose)
    known = set(re.findall(r"\d[\d.,]*\d|\d", results)) | {python.removeprefix(">=")}
    assert len(figures) > 5 and [each for each in figures if each not in known] == []


def test_the_numbers_in_words_are_right() -> None:
    answers = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    questions = [name for name in answers if not name.startswith("_")]
    assert f"asks {words[len(questions) - 1]} questions" in README
    examples = list((TEMPLATE / LAB / "lab" / "processes").iterdir())
    assert f"{words[len(examples) - 1].title()} experiments on real data" in README


def test_the_main_of_each_example_is_short_and_has_no_decorator() -> None:
    for main in (TEMPLATE / LAB).glob("lab/processes/*/main.py"):
        text = main.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 70 and "import mlflow" in text, main
        assert not re.search(r"(?m)^\s*@", text), main


@pytest.mark.parametrize("readme, heading, elsewhere", [
    (TEMPLATE / "README.md", "What a lab holds", set()),
    (TEMPLATE / LAB / "README.md", "What is where",
     {"mlflow.db", "mlartifacts/", ".lab/", "data.lock"})],
    ids=["template", "lab"])
def test_the_tree_of_a_lab_is_that_of_a_baked_lab(
        readme: Path, heading: str, elsewhere: set[str], bake: Bake) -> None:
    text = below(readme.read_text(encoding="utf-8"), heading)
    tree = re.search(r"```\n(.*?)```", text, re.DOTALL)
    assert tree
    shown = {word.rstrip(",").replace("/NAME/", "/") for line in tree[1].splitlines()
             for word in takewhile(re.compile(r"[/.]").search, line.split())}
    files = files_below(bake())
    unused = {name for name in shown - elsewhere
              if not any(file == name or file.startswith(name) for file in files)}
    assert not unused, "not in a lab"
    if not elsewhere:  # the lab's own README leaves out what is clear
        folders = tuple(name for name in shown if name.endswith("/"))
        assert {file for file in files - shown if not file.startswith(folders)} == set()


def test_the_labs_table_has_the_groups_of_the_help_and_every_command_in_its_own() -> None:
    table = below((TEMPLATE / LAB / "README.md").read_text(encoding="utf-8"), "I want to …")
    parts = re.split(r"(?m)^\| \*\*(\w+)\*\* \| \|$", table)
    assert parts[1::2] == list(GROUPS)
    typed = {group: set(re.findall(r"`lab (\w+)", rows)) & set(COMMANDS)
             for group, rows in zip(parts[1::2], parts[2::2])}
    for group, commands in GROUPS.items():
        assert typed[group] <= set(commands), group
        missing = set(commands) - typed[group] - {"init", "migrate"}  # the first result; updating
        assert not missing, group
