"""The order of steps in a plan, and how the end of one affects the others."""
from __future__ import annotations

from taglab.engines.drone.conditions import Event
from taglab.engines.drone.decide import pipeline_to_run
from taglab.engines.drone.outcome import PipelineState, plan
from tests.runner.conftest import PIPELINE

TAG = Event("tag", "refs/tags/exp-1", "create")


def dependencies(*steps: str) -> dict[str, set[str]]:
    """Return the dependencies of each planned step; `steps` are fields, the names a, b, …"""
    text = PIPELINE + "steps:\n" + "".join(
        f"- {{name: {name}, image: x, commands: [y], {fields}}}\n"
        for name, fields in zip("abcd", steps))
    return {step.name: set(step.depends_on)
            for step in plan(pipeline_to_run(text, "exp", {}), TAG)}


def test_without_dependencies_steps_run_one_after_another() -> None:
    assert dependencies("", "") == {"clone": set(), "a": {"clone"}, "b": {"a"}}


def test_with_a_dependency_the_other_steps_start_at_once() -> None:
    assert dependencies("", "", "depends_on: [a]") == {
        "clone": set(), "a": {"clone"}, "b": {"clone"}, "c": {"a"}}


def test_dependents_inherit_the_dependencies_of_an_excluded_step() -> None:
    excluded = "when: {event: [push]}"
    assert dependencies("", excluded, "") == {"clone": set(), "a": {"clone"}, "c": {"a"}}
    assert dependencies("", "", f"depends_on: [a, b], {excluded}", "depends_on: [c]") == {
        "clone": set(), "a": {"clone"}, "b": {"clone"}, "d": {"a", "b"}}


def test_a_killed_step_stays_killed() -> None:
    text = PIPELINE + "steps: [{name: a, image: x, commands: [y]}]\n"
    state = PipelineState(plan(pipeline_to_run(text, "exp", {}), TAG))
    state.start("clone", 1)
    state.kill(2)
    state.finish("clone", 0, 3)
    assert [(step.status, step.exit_code) for step in state.steps.values()] == [
        ("killed", 137), ("skipped", 0)]
    assert state.result == "killed" and state.settle() == []
