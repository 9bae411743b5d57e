"""The order of a build's pipelines."""
from __future__ import annotations

from taglab.engines.drone.decide import all_pipelines
from taglab.runner.build_run import effective_dependencies

from .conftest import PIPELINE, Lab

STEP = "steps: [{name: a, image: x, commands: ['echo after=$DRONE_STAGE_DEPENDS_ON.']}]\n"
OTHER = PIPELINE.replace("exp-*", "other-*").replace("name: exp", "name: other\ndepends_on: [exp]")
LAST = PIPELINE.replace("name: exp", "name: last\ndepends_on: [other]")


def test_a_pipeline_that_is_not_triggered_hands_on_its_dependencies() -> None:
    pipelines = all_pipelines("---\n".join(each + STEP for each in (PIPELINE, OTHER, LAST)))
    assert effective_dependencies(pipelines, {"exp", "other", "last"})["last"] == ("other",)
    assert effective_dependencies(pipelines, {"exp", "last"})["last"] == ("exp",)
    assert effective_dependencies(pipelines, {"last"})["last"] == ()


def test_a_step_knows_what_its_pipeline_waited_for(lab: Lab) -> None:
    lab.pipeline("", "---\n".join(each + STEP for each in (PIPELINE, OTHER, LAST)))
    shown = lab.push_tag("exp-1")
    assert "[exp/a] after=." in shown and "[last/a] after=exp." in shown
