"""Glob patterns as doublestar 1.1, Drone's library, matches them.

`/` separates components; `**` spans several of them, but only where it is a whole component.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_MEMBER = re.compile(r"(\\.|[^\\-])(?:-(\\.|[^\\-]))?", re.DOTALL)  # one character, or a range
_MEMBERS = re.compile(rf"({_MEMBER.pattern})*", re.DOTALL)


class BadPattern(ValueError):
    """A class or brace is unclosed, a `-` or backslash stands alone, or a backslash comes last."""


def glob_match(pattern: str, name: str) -> bool:
    """Return whether all of `name` matches `pattern`; case matters. Raises BadPattern."""
    return _match_components(_split(pattern, "/"), _split(name, "/"))


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Return whether `name` matches one of the patterns; an invalid pattern matches nothing."""
    return any(_valid_match(glob_match, pattern, name) for pattern in patterns)


def class_ranges(members: str) -> list[tuple[str, str]]:
    """Return the first and last character of each range between `[` and `]`."""
    return [(low[-1], (high or low)[-1]) for low, high in _MEMBER.findall(members)]


def _valid_match(match: Callable[[T, T], bool], pattern: T, name: T) -> bool:
    try:
        return match(pattern, name)
    except BadPattern:
        return False  # doublestar and Drone discard this error


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that no backslash precedes; an empty last part is dropped."""
    parts = re.split(rf"(?<!\\){separator}", text)
    return parts[:-1] if len(parts) > 1 and not parts[-1] else parts


def _match_components(pattern: list[str], name: list[str]) -> bool:
    if not pattern or not name:
        return not pattern and not name
    for index, component in enumerate(pattern):
        if index >= len(name):
            return False
        if component == "**":
            rest = pattern[index + 1:]
            return not rest or any(_valid_match(_match_components, rest, name[skip:])
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
            return not rest or any(_valid_match(_match_component, rest, suffix)
                                   for suffix in _suffixes(name))
        if first == "{":
            return _match_alternatives(pattern, name)
        if first == "[":
            end = _closing(pattern, "]")
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


def _suffixes(name: str) -> Iterator[str]:
    """Yield what a `*` may leave of the name.

    doublestar advances by as many bytes as the first character has, whatever follows it.
    """
    encoded = name.encode(errors="surrogateescape")
    for start in range(0, len(encoded), len(name[0].encode(errors="surrogateescape"))):
        yield encoded[start:].decode(errors="surrogateescape")


def _closing(pattern: str, bracket: str) -> int:
    """Return the index of the bracket that closes the one at the beginning, or -1."""
    found = re.compile(rf"(?<!\\){bracket}").search(pattern, 1)
    return found.start() if found else -1


def _match_alternatives(pattern: str, name: str) -> bool:
    end = _closing(pattern, "}")
    if end < 0:
        raise BadPattern("`{` without `}`")
    return any(_match_component(option + pattern[end + 1:], name)
               for option in _split(pattern[1:end], ","))


def _in_class(characters: str, candidate: str) -> bool:
    """Return whether `[characters]` matches; `^` negates, `!` is an ordinary member."""
    members = characters.removeprefix("^")
    if not characters or not _MEMBERS.fullmatch(members):
        raise BadPattern("`[` without `]`, or a lone `-` or backslash in `[…]`")
    found = any(low <= candidate <= high for low, high in class_ranges(members))
    return found != characters.startswith("^")
