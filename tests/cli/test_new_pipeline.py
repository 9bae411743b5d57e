"""`lab new` adds a process to `.drone.yml` and leaves all else in it as it was."""
from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglab.cli.new_pipeline import add_process
from taglab.engines.drone.lint import lint
from taglab.errors import LabError

SHARED = """\
kind: pipeline
type: kubernetes
name: experiments
# which tags
trigger:
  event: [tag]
  ref:
  - refs/tags/run-examples-*
  - refs/tags/old-one-*  # mine
steps:
# the old one
- name: old-one
  image: &image i:1
  commands:
  - python lab/processes/old_one/main.py  # old_one, as it is
  when:
    ref: [refs/tags/run-examples-*, refs/tags/old-one-*]

# the goals
- name: goals
  image: *image
  commands: [python -m taglab.goals]
"""
STEP = """\
- name: my-process
  image: i:1
  commands:
  - python lab/processes/my_process/main.py  # old_one, as it is
  when:
    ref: [refs/tags/run-examples-*, refs/tags/my-process-*]
"""
EACH = """\
kind: pipeline
type: kubernetes
name: run-examples
trigger: {ref: [refs/tags/run-examples-*]}
steps:
- {name: other, image: i:1, commands: [python lab/processes/other/main.py]}
- {name: old-one, image: i:1, commands: [python lab/processes/old_one/main.py]}
- {name: goals, image: i:1, commands: [python -m taglab.goals]}
---
kind: pipeline
type: kubernetes
name: old-one
# git tag old-one-v1
trigger: {ref: [refs/tags/old-one-*]}
steps:
- {name: old-one, image: i:1, commands: [python lab/processes/old_one/main.py]}
- {name: goals, image: i:1, commands: [python -m taglab.goals]}
"""


def added_lines(before: str, after: str) -> list[str]:
    """Return the lines that were added; fails if one was removed or changed."""
    changes = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert not [line for line in changes if line.startswith("- ")]
    return [line[2:] for line in changes if line.startswith("+ ")]


def test_a_step_joins_the_pipeline_that_all_processes_share() -> None:
    after, said = add_process(SHARED, "my_process")
    assert "The pipeline experiments of .drone.yml has a step for it" in said
    assert f"old-one-*]\n\n{STEP}\n# the goals\n" in after
    assert "  - refs/tags/old-one-*  # mine\n" in after
    assert added_lines(SHARED, after)[0] == "  - refs/tags/my-process-*"
    assert len(added_lines(SHARED, after)) == 8
    assert lint(after, goals=["my_process"], requirements="1") == []
    again, _ = add_process(after, "another")
    assert "- refs/tags/another-*\n" in again and again.count("&image") == 1


@pytest.mark.parametrize("ref, wanted", [
    ("[refs/tags/run-examples-*, refs/tags/old-one-*]",
     "[refs/tags/run-examples-*, refs/tags/old-one-*, refs/tags/my-process-*]"),
    ("['refs/tags/old-one-*', refs/tags/a]",
     "['refs/tags/old-one-*', 'refs/tags/my-process-*', refs/tags/a]"),
    ("{include: [refs/tags/old-one-*]}",
     "{include: [refs/tags/old-one-*, refs/tags/my-process-*]}")])
def test_its_tag_joins_the_trigger_however_that_is_written(ref: str, wanted: str) -> None:
    text = SHARED.replace("""
  - refs/tags/run-examples-*
  - refs/tags/old-one-*  # mine
""", f" {ref}\n")
    after, _ = add_process(text, "my_process")
    assert f"  ref: {wanted}\n" in after and STEP in after


def test_where_each_process_has_a_pipeline_run_examples_gets_a_step_before_the_goals() -> None:
    after, said = add_process(EACH, "my_process")
    assert "The pipeline my-process of .drone.yml runs it. run-examples has a step" in said
    assert "taglab.goals" not in said
    assert added_lines(EACH, after) == [
        "- {name: my-process, image: i:1, commands: [python lab/processes/my_process/main.py]}",
        "---", *EACH.partition("---\n")[2].replace("old-one", "my-process").replace(
            "old_one", "my_process").splitlines()]
    assert after.index("name: my-process") < after.index("name: goals")
    assert lint(after, goals=["my_process"], requirements="1") == []


def test_where_the_shape_is_not_known_the_message_says_what_to_do() -> None:
    flow = EACH.replace("steps:\n- {name: other", "steps: [{name: other", 1).replace(
        "main.py]}\n- {name: old-one", "main.py]}, {name: old-one", 1).replace(
        "main.py]}\n- {name: goals", "main.py]}, {name: goals", 1).replace(
        "goals]}\n---", "goals]}]\n---")
    after, said = add_process(flow, "my_process")
    assert "To have run-examples run it, too, copy its step there" in said
    assert after.startswith(flow.rstrip())
    with pytest.raises(LabError, match="there is none to copy"):
        add_process(flow.partition("---\n")[0], "my_process")
    with pytest.raises(LabError, match="Choose another name"):
        add_process(SHARED, "old_one")


@pytest.mark.parametrize("text", [SHARED, EACH])
@pytest.mark.parametrize("name, pattern, tag, free", [
    ("old", "refs/tags/old-one-*", "old-one-v1", "my_old"),
    ("old_one_more", "refs/tags/old-one-*", "old-one-more-v1", "my_old_one_more"),
    ("run", "refs/tags/run-examples-*", "run-examples-v1", "my_run"),
    ("run_examples_2", "refs/tags/run-examples-*", "run-examples-2-v1", "my_run_examples_2")])
def test_a_name_whose_tags_would_start_two_is_refused(
    text: str, name: str, pattern: str, tag: str, free: str
) -> None:
    with pytest.raises(LabError) as refused:
        add_process(text, name)
    assert str(refused.value) == (f"the tag {tag} would start both {name} and what .drone.yml"
                                  f" starts by {pattern}. Type: lab new {free}")
    assert free.replace("_", "-") in add_process(text, free)[0]


@pytest.mark.parametrize("name", ["ol", "older", "old_one2", "oldone", "one", "runs"])
def test_a_name_that_only_looks_like_another_is_added(name: str) -> None:
    assert f"refs/tags/{name.replace('_', '-')}-*" in add_process(SHARED, name)[0]


@pytest.mark.parametrize("ref, name, message", [
    ("[refs/tags/old-one-*, refs/tags/*]", "my_process", None),
    ("[refs/tags/old-one-*, refs/tags/*-v1]", "my_process", None),
    ("[refs/tags/old-one-*, refs/heads/my-*]", "my_process", None),
    ("{include: [refs/tags/old-one-*, refs/tags/svm-*], exclude: [refs/tags/svm-search-*]}",
     "svm_search", None),
    ("[refs/tags/old-one-*, refs/tags/my*]", "my_process", "Type: lab new the_my_process"),
    ("[refs/tags/old-one-*, refs/tags/svm-final]", "svm", "the tag svm-final would .* new my_svm"),
    ("[refs/tags/old-one-*, 'refs/tags/[mot]*']", "my_process", r"\[mot\]\*. Choose another name"),
])
def test_a_pattern_of_any_shape_counts_by_the_tags_that_it_matches(
    ref: str, name: str, message: str | None
) -> None:
    text = SHARED.replace("""
  - refs/tags/run-examples-*
  - refs/tags/old-one-*  # mine
""", f" {ref}\n")
    if message is None:
        assert f"lab/processes/{name}/main.py" in add_process(text, name)[0]
    else:
        with pytest.raises(LabError, match=message):
            add_process(text, name)


@given(st.integers(0, len(SHARED)), st.integers(0, 30), st.sampled_from(
    ["", "\n", "# ", "- ", "[", "  ", "&a ", "*image", "- refs/tags/old-one-*\n"]))
def test_a_file_of_any_shape_is_added_to_or_refused(start: int, length: int, new: str) -> None:
    text = SHARED[:start] + new + SHARED[start + length:]
    try:
        after, _ = add_process(text, "my_process")
    except LabError:
        return
    before, now = ({each.text for each in lint(each) if each.level == "error"}
                   for each in (text, after))
    assert now <= before, "what is wrong in the copied step stays wrong, and nothing else is"
    assert "lab/processes/my_process/main.py" in after
