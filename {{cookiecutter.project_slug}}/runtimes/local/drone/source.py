"""A `.drone.yml` as the rules of `lint` look at it."""
from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from local.drone.conditions import Condition
from local.drone.documents import Document, Fields
from local.drone.schema import CONDITIONS, is_kubernetes
from local.drone.variables import Commit, Repository, Stage, drone_variables

Warnings = Iterator[tuple[int, str]]  # line, and what is wrong with its fix
EVENTS = ("push", "tag", "pull_request", "promote", "rollback", "cron", "custom")
_SAMPLE_REFS = ("refs/heads/main",  # each has variables that the others have not
                "refs/tags/v1.2.3-a+b", "refs/tags/2024.1.15-a", "refs/tags/x")


@dataclass(frozen=True)
class Source:
    """A `.drone.yml` and what is known of the commit it is in."""

    text: str
    documents: Sequence[Document]
    files: Collection[str] | None
    secrets: Collection[str] | None
    requirements: str

    @property
    def pipelines(self) -> list[Fields]:
        """The pipelines of every type."""
        return [document.fields for document in self.documents
                if document.fields.text("kind") == "pipeline"]

    @property
    def kubernetes(self) -> list[Fields]:
        """The pipelines that run here and on the cluster."""
        return [fields for fields in self.pipelines if is_kubernetes(fields)]

    @property
    def steps(self) -> list[Fields]:
        """The services and steps of those."""
        return [step for pipeline in self.kubernetes for step in steps_of(pipeline)]

    @property
    def conditions(self) -> Iterator[tuple[Fields, str, Condition]]:
        """Every condition of a trigger or a `when`: where it stands, its name, and itself."""
        places = [pipeline.fields("trigger") for pipeline in self.pipelines]
        for place in (*places, *(step.fields("when") for step in self.steps)):
            for name in CONDITIONS:
                if name in place:
                    yield place, name, place.condition(name)


def sample_variables() -> dict[str, str]:
    """Return the variables that the builds of tags and branches can have."""
    found: dict[str, str] = {}
    for ref in _SAMPLE_REFS:
        commit = Commit("tag" if "tags" in ref else "push", ref, "0" * 40, "", "", "", "", "")
        found |= drone_variables(Repository("lab", "lab", "main", "", ""), commit,
                                 Stage("exp", 1, 1, 0, "@hook", "", 0, 0), 0)
    return found


def steps_of(pipeline: Fields) -> list[Fields]:
    """Return a pipeline's services and steps."""
    return [*pipeline.items("services"), *pipeline.items("steps")]


def builds_of(trigger: Fields) -> set[str]:
    """Return the events that can start a pipeline with this trigger."""
    events = {event for event in EVENTS if trigger.condition("event").match(event)}
    refs = trigger.condition("ref").include
    if refs and all(ref.startswith("refs/tags/") for ref in refs):
        return events & {"tag"}
    if refs and all(ref.startswith("refs/heads/") for ref in refs):
        return events - {"tag"}
    return events
