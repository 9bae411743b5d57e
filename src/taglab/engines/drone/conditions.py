"""Which pipelines a push starts and which steps run: `trigger`, `when`, and their globs.

A glob is matched as by doublestar 1.1: `/` separates components, `**` is a whole component.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

TRIGGER = ("branch", "event", "action", "ref", "repo", "target", "cron")
WHEN = (*TRIGGER, "instance")
Glob = str | list[str]  # whole, or in its components
_MEMBER = re.compile(r"(\\.|[^\\-])(?:-(\\.|[^\\-]))?", re.DOTALL)  # one character, or from and to
_MEMBERS = re.compile(rf"({_MEMBER.pattern})*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """Patterns that a value must match, and patterns that it must not."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dropped: bool = False  # whether it holds something in which Drone sees no pattern

    def match(self, value: str) -> bool:
        """Exclusion wins; an empty `include` lets everything in."""
        if _any_match(self.exclude, value):
            return False
        return not self.include or _any_match(self.include, value)

    def match_status(self, status: str) -> bool:
        """Without patterns, success alone is let in."""
        return self.match(status) if self.include or self.exclude else status == "success"


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


def all_match(conditions: object, event: Event, names: Iterable[str]) -> bool:
    """Say whether the event meets those conditions of a trigger or a `when` that have these names.
    """
    return all(getattr(conditions, name).match(getattr(event, name)) for name in names)


def _any_match(patterns: tuple[str, ...], value: str) -> bool:
    return any(_quiet(glob_match, pattern, value) for pattern in patterns)


def _quiet(match: Callable[[Glob, Glob], bool], pattern: Glob, name: Glob) -> bool:
    try:
        return match(pattern, name)
    except BadPattern:
        return False  # Drone swallows the error


class BadPattern(ValueError):
    """The pattern has an unclosed class or brace, or a lone `-` or backslash in a class."""


def glob_match(pattern: str, name: str) -> bool:
    """Say whether the whole of `name` matches `pattern`; case matters. Raises BadPattern."""
    return _match_components(_split(pattern, "/"), _split(name, "/"))


def _split(text: str, separator: str) -> list[str]:
    """Split at separators without a backslash before them; an empty last part vanishes."""
    parts = re.split(rf"(?<!\\){separator}", text)
    return parts[:-1] if len(parts) > 1 and not parts[-1] else parts


def _end(pattern: str, closing: str) -> int:
    """Return where the bracket is closed that the pattern begins with; -1 where it is not."""
    found = re.compile(rf"(?<!\\){closing}").search(pattern, 1)
    return found.start() if found else -1


def _match_components(pattern: list[str], name: list[str]) -> bool:
    if not pattern or not name:
        return not pattern and not name
    for index, component in enumerate(pattern):
        if index >= len(name):
            return False
        if component == "**":
            rest = pattern[index + 1:]
            return not rest or any(_quiet(_match_components, rest, name[skip:])
                                   for skip in range(index, len(name)))
        if not _match_component(component, name[index]):
            return False
    return len(pattern) == len(name)


def _match_component(pattern: str, name: str) -> bool:
    if not pattern or not name:
        return pattern == name or pattern == "*"
    while pattern and name:
        first = pattern[0]
        if first == "*":
            rest = pattern[1:]
            return not rest or any(_quiet(_match_component, rest, end) for end in _ends(name))
        if first == "{":
            return _match_alternatives(pattern, name)
        if first == "[":
            end = _end(pattern, "]")
            if not _in_class(pattern[1:end] if end > 0 else "", name[0]):
                return False
            pattern, name = pattern[end + 1:], name[1:]
            continue
        if first == "\\":
            pattern = pattern[1:]
            if not pattern:
                raise BadPattern("a backslash at the end")
            first = pattern[0]
        elif first == "?":
            first = name[0]
        if first != name[0]:
            return False
        pattern, name = pattern[1:], name[1:]
    return not name and pattern in ("", "*", "**")


def _ends(name: str) -> Iterator[str]:
    """Yield what a `*` may leave of the name: doublestar steps by the bytes of its first character.
    """
    written = name.encode(errors="surrogateescape")
    for start in range(0, len(written), len(name[0].encode(errors="surrogateescape"))):
        yield written[start:].decode(errors="surrogateescape")


def _match_alternatives(pattern: str, name: str) -> bool:
    end = _end(pattern, "}")
    if end < 0:
        raise BadPattern("`{` without `}`")
    return any(_match_component(option + pattern[end + 1:], name)
               for option in _split(pattern[1:end], ","))


def _in_class(characters: str, candidate: str) -> bool:
    """Say whether `[characters]` holds the candidate; `^` negates, `!` is an ordinary member."""
    members = characters.removeprefix("^")
    if not characters or not _MEMBERS.fullmatch(members):
        raise BadPattern("`[` without `]`, or a lone `-` or backslash in `[…]`")
    found = any(low[-1] <= candidate <= (high or low)[-1]
                for low, high in _MEMBER.findall(members))
    return found != characters.startswith("^")
