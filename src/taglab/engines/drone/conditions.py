"""Which pipelines an event starts and which steps run: the conditions of `trigger` and `when`."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from taglab.engines.drone.globs import matches_any

TRIGGER = ("branch", "event", "action", "ref", "repo", "target", "cron")
WHEN = (*TRIGGER, "instance")


@dataclass(frozen=True)
class Condition:
    """Glob patterns that a value must match, and patterns that it must not."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dropped: bool = False  # whether the file has more here, which Drone ignores

    def match(self, value: str) -> bool:
        """Return whether the value passes; `exclude` wins, and an empty `include` allows all."""
        if matches_any(self.exclude, value):
            return False
        return not self.include or matches_any(self.include, value)

    def match_status(self, status: str) -> bool:
        """Return whether a status passes; without patterns, only `success` does."""
        return self.match(status) if self.include or self.exclude else status == "success"


@dataclass(frozen=True)
class Event:
    """The values that conditions are matched against. A tag has action `create` and no branch."""

    event: str
    ref: str
    action: str = ""
    branch: str = ""
    repo: str = ""
    target: str = ""
    cron: str = ""
    instance: str = ""


def all_match(conditions: object, event: Event, names: Iterable[str]) -> bool:
    """Return whether the event meets the named conditions of a `trigger` or a `when`."""
    return all(getattr(conditions, name).match(getattr(event, name)) for name in names)
