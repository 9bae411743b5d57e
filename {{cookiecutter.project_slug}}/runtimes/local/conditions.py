"""Which pipelines a push starts and which steps run: `trigger` and `when`."""
from __future__ import annotations

from dataclasses import dataclass, field

from local.glob import BadPattern, glob_match


@dataclass(frozen=True)
class Condition:
    """Patterns that a value must match, and patterns that it must not."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def match(self, value: str) -> bool:
        """Exclusion wins; an empty `include` lets everything in."""
        if _any_match(self.exclude, value):
            return False
        return not self.include or _any_match(self.include, value)


@dataclass(frozen=True)
class Event:
    """What happened, in Drone's words. A tag has no branch; its action is `create`."""

    event: str
    ref: str
    action: str = ""
    branch: str = ""
    repo: str = ""
    target: str = ""
    cron: str = ""
    instance: str = ""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a trigger or a `when`, by name; all must match."""

    by_name: dict[str, Condition] = field(default_factory=dict)

    TRIGGER = ("branch", "event", "action", "ref", "repo", "target", "cron")
    WHEN = (*TRIGGER, "instance")

    def match(self, event: Event, names: tuple[str, ...]) -> bool:
        """Say whether the event meets the conditions with these names."""
        return all(self.by_name[name].match(getattr(event, name))
                   for name in names if name in self.by_name)

    def status(self, status: str) -> bool:
        """Say whether `status` is met; without one, only success is."""
        condition = self.by_name.get("status", Condition())
        if not condition.include and not condition.exclude:
            return status == "success"
        return condition.match(status)


def _any_match(patterns: tuple[str, ...], value: str) -> bool:
    return any(_quiet_match(pattern, value) for pattern in patterns)


def _quiet_match(pattern: str, value: str) -> bool:
    try:
        return glob_match(pattern, value)
    except BadPattern:
        return False  # Drone swallows the error
