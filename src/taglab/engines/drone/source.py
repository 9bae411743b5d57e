"""A `.drone.yml` and what is known about its commit, as the rules of `lint` see them."""
from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from taglab.engines.drone.conditions import Condition
from taglab.engines.drone.fields import Fields, Secret
from taglab.engines.drone.schema import (
    CONDITIONS, any_pipeline_schema, is_kubernetes, read_documents, services_and_steps)
from taglab.engines.drone.variables import Commit, Repository, Stage, drone_variables

EVENTS = ("push", "tag", "pull_request", "promote", "rollback", "cron", "custom")
GOALS = "goals/goals.toml"  # the file in a lab
_PROCESS = re.compile(r"\blab/processes/(\w+)/main\.py\b")
_JUDGES = re.compile(r"-m +taglab\.goals\b")
# Each of these refs has variables that the others do not have.
_SAMPLE_REFS = ("refs/heads/main", "refs/tags/v1.2.3-a+b", "refs/tags/2024.1.15-a", "refs/tags/x")


@dataclass(frozen=True)
class Source:
    """A `.drone.yml` and its commit; see `lint` for the fields. Properties raise FileError."""

    text: str
    files: Collection[str] | None = None
    secrets: Collection[str] | None = None
    requirements: str = ""
    goals: Collection[str] = ()

    @cached_property
    def documents(self) -> list[Fields]:
        """All documents; a field of the wrong type is empty."""
        return read_documents(self.text, any_pipeline_schema, lenient=True)

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text; the first has index 0."""
        return self.text.split("\n")

    @property
    def pipelines(self) -> list[Fields]:
        """The pipelines of every type."""
        return [document for document in self.documents if document.kind == "pipeline"]

    @property
    def kubernetes(self) -> list[Fields]:
        """The pipelines for the Kubernetes runner, which this machine runs too."""
        return list(filter(is_kubernetes, self.documents))

    @property
    def steps(self) -> list[Fields]:
        """The services and steps of the Kubernetes pipelines."""
        return [step for pipeline in self.kubernetes for step in services_and_steps(pipeline)]

    @property
    def conditions(self) -> Iterator[tuple[Fields, str, Condition]]:
        """Every condition in the file: the `trigger` or `when` it is in, its name and itself."""
        triggers = [pipeline.trigger for pipeline in self.pipelines]
        for parent in (*triggers, *(step.when for step in self.steps)):
            for name in CONDITIONS:
                if name in parent.lines:
                    yield parent, name, getattr(parent, name)

    @property
    def given_secrets(self) -> set[str]:
        """The names of the documents of `kind: secret`."""
        return {document.name for document in self.documents if document.kind == "secret"}


def secrets_of(step: Fields) -> list[tuple[str, Secret]]:
    """Return the variables and settings of a step that take their value from a secret."""
    return [(name, value) for name, value in (*step.environment.items(), *step.settings.items())
            if isinstance(value, Secret)]


def processes_in(command: str) -> list[str]:
    """Return the processes of the lab whose main.py a command runs."""
    return _PROCESS.findall(command)


def judges_goals(command: str) -> bool:
    """Return whether a command compares the runs of its build with the goals."""
    return bool(_JUDGES.search(command))


def processes_with_goals(text: str) -> set[str]:
    """Return the processes that a goals.toml names; none if it cannot be read."""
    try:
        goals = tomllib.loads(text).get("goal")
    except tomllib.TOMLDecodeError:
        return set()
    named = [goal.get("process") for goal in goals or () if isinstance(goal, dict)] if isinstance(
        goals, list) else []
    return {name for name in named if isinstance(name, str)}


def sample_variables() -> dict[str, str]:
    """Return every variable that builds of tags and branches can have, with sample values."""
    repository = Repository("lab", "lab", "main", "", "")
    stage = Stage("exp", 1, 1, 0, "@hook", "", 0, 0)
    found: dict[str, str] = {}
    for ref in _SAMPLE_REFS:
        event = "tag" if ref.startswith("refs/tags/") else "push"
        commit = Commit(event, ref, "0" * 40, before="", message="", author_login="",
                        author_name="", author_email="")
        found |= drone_variables(repository, commit, stage, now=0)
    return found


def possible_events(trigger: Fields) -> set[str]:
    """Return the events that can start a pipeline with this trigger."""
    events = {event for event in EVENTS if trigger.event.match(event)}
    refs = trigger.ref.include
    if refs and all(ref.startswith("refs/tags/") for ref in refs):
        return events & {"tag"}
    if refs and all(ref.startswith("refs/heads/") for ref in refs):
        return events - {"tag"}
    return events
