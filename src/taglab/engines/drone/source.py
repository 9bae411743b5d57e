"""A `.drone.yml` as the rules of `lint` look at it."""
from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from taglab.engines.drone.conditions import Condition
from taglab.engines.drone.fields import Fields, Secret
from taglab.engines.drone.schema import (
    CONDITIONS, any_pipeline_schema, is_kubernetes, read_documents)
from taglab.engines.drone.variables import Commit, Repository, Stage, drone_variables

EVENTS = ("push", "tag", "pull_request", "promote", "rollback", "cron", "custom")
_SAMPLE_REFS = ("refs/heads/main",  # each has variables that the others have not
                "refs/tags/v1.2.3-a+b", "refs/tags/2024.1.15-a", "refs/tags/x")


@dataclass(frozen=True)
class Source:
    """A `.drone.yml` and what is known of the commit it is in; reading raises FileError."""

    text: str
    files: Collection[str] | None = None
    secrets: Collection[str] | None = None
    requirements: str = ""

    @cached_property
    def documents(self) -> list[Fields]:
        """All documents; what has a wrong type counts as empty."""
        return read_documents(self.text, any_pipeline_schema, lenient=True)

    @property
    def pipelines(self) -> list[Fields]:
        """The pipelines of every type."""
        return [document for document in self.documents if document.kind == "pipeline"]

    @property
    def kubernetes(self) -> list[Fields]:
        """The pipelines that run here and on the cluster."""
        return list(filter(is_kubernetes, self.documents))

    @property
    def steps(self) -> list[Fields]:
        """The services and steps of those."""
        return [step for pipeline in self.kubernetes
                for step in (*pipeline.services, *pipeline.steps)]

    @property
    def conditions(self) -> Iterator[tuple[Fields, str, Condition]]:
        """Every condition of a trigger or a `when`: where it stands, its name, and itself."""
        places = [pipeline.trigger for pipeline in self.pipelines]
        for place in (*places, *(step.when for step in self.steps)):
            for name in CONDITIONS:
                if name in place.lines:
                    yield place, name, getattr(place, name)

    @property
    def given_secrets(self) -> set[str]:
        """The names of the documents that are secrets."""
        return {document.name for document in self.documents if document.kind == "secret"}


def secrets_of(step: Fields) -> list[tuple[str, Secret]]:
    """Return the variables and settings of a step that are secrets."""
    return [(name, value) for name, value in (*step.environment.items(), *step.settings.items())
            if isinstance(value, Secret)]


def sample_variables() -> dict[str, str]:
    """Return the variables that the builds of tags and branches can have."""
    found: dict[str, str] = {}
    for ref in _SAMPLE_REFS:
        commit = Commit("tag" if "tags" in ref else "push", ref, "0" * 40, "", "", "", "", "")
        found |= drone_variables(Repository("lab", "lab", "main", "", ""), commit,
                                 Stage("exp", 1, 1, 0, "@hook", "", 0, 0), 0)
    return found


def builds_of(trigger: Fields) -> set[str]:
    """Return the events that can start a pipeline with this trigger."""
    events = {event for event in EVENTS if trigger.event.match(event)}
    refs = trigger.ref.include
    if refs and all(ref.startswith("refs/tags/") for ref in refs):
        return events & {"tag"}
    if refs and all(ref.startswith("refs/heads/") for ref in refs):
        return events - {"tag"}
    return events
