"""`${NAME}` in the text of `.drone.yml`, as Drone replaces it before it reads the YAML."""
from __future__ import annotations

import re
from collections.abc import Mapping

from local.script import go_quote


class SubstitutionError(ValueError):
    """The text holds a `${…}` that Drone cannot read; the message is Drone's."""


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Replace every `${…}` of `text`; an unknown name is empty, `$$` is `$`, `\\\\` is `\\`."""
    replaced, _ = _Reader(text, variables).text(stop="")
    return replaced


class _Reader:
    """Reads a text from left to right, once."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.rest, self.variables = text, variables

    def text(self, stop: str) -> tuple[str, str]:
        """Read up to one of the characters in `stop`; return what it says and that character."""
        parts = []
        while self.rest:
            if self.rest[0] in stop:
                return "".join(parts), self.rest[0]
            if self.rest.startswith("${"):
                self.rest = self.rest[2:]
                parts.append(self.expression())
            elif self.rest[:2] in ("$$", "\\\\", "\\/"):
                parts.append(self.rest[1])
                self.rest = self.rest[2:]
            else:
                plain = re.match(r"[^$\\/:}]+|.", self.rest, re.DOTALL)[0]
                parts.append(plain)
                self.rest = self.rest[len(plain):]
        return "".join(parts), ""

    def expression(self) -> str:
        """Read what follows `${`, up to and with its `}`."""
        length = self.take("#")
        name = self.take(r"\w+")
        if not name:
            raise SubstitutionError("unable to parse variable name")
        value = self.variables.get(name, "")
        if "\n" in value:
            value = go_quote(value)
        if length:
            value = str(len(value.encode()))
        else:
            value = self.apply(value)
        if not self.take("}"):
            raise SubstitutionError("missing closing brace")
        return value

    def apply(self, value: str) -> str:
        if operator := self.take(r"\^\^?|,,?"):
            return _change_case(value, operator)
        if operator := self.take("##?|%%?"):
            return _trim(value, operator, self.argument("}"))
        if operator := self.take("//|/#|/%|/"):
            old = self.argument("/")
            if not self.take("/"):
                raise SubstitutionError("unable to parse substitution within function")
            return _replace(value, operator, old, self.argument("}", empty=True))
        if self.take(":?=|:[-?+]"):
            default, _ = self.text("}")
            return value or default
        if self.take(":"):
            position, stop = self.text(":}")
            size = self.text("}")[0] if self.take(":") else None
            return _slice(value, position, size)
        return value

    def argument(self, stop: str, empty: bool = False) -> str:
        argument, _ = self.text(stop)
        if not argument and not empty:
            raise SubstitutionError("unable to parse substitution within function")
        return argument

    def take(self, pattern: str) -> str:
        found = re.match(pattern, self.rest)
        if not found:
            return ""
        self.rest = self.rest[found.end():]
        return found[0]


def _change_case(value: str, operator: str) -> str:
    change = str.upper if operator[0] == "^" else str.lower
    return change(value) if len(operator) == 2 else change(value[:1]) + value[1:]


def _trim(value: str, operator: str, pattern: str) -> str:
    if operator[0] == "%":  # Drone trims the end by reversing both, which breaks `[…]`
        return _trim(value[::-1], "#" * len(operator), pattern[::-1])[::-1]
    glob = _glob(pattern)
    lengths = range(len(value) + 1) if operator == "#" else range(len(value), -1, -1)
    return next((value[size:] for size in lengths if glob.fullmatch(value[:size])), value)


def _glob(pattern: str) -> re.Pattern[str]:
    """Translate `*`, `?` and `[…]`; here `*` crosses `/`, and an unclosed `[` matches nothing."""
    parts = re.findall(r"\[\^?[^\]]+\]|.", pattern, re.DOTALL)
    meaning = {"*": ".*", "?": ".", "[": "(?!)"}
    return re.compile("".join(part if len(part) > 1 else meaning.get(part, re.escape(part))
                              for part in parts), re.DOTALL)


def _replace(value: str, operator: str, old: str, new: str) -> str:
    if operator == "/#":
        return new + value[len(old):] if value.startswith(old) else value
    if operator == "/%":
        return value[:len(value) - len(old)] + new if value.endswith(old) else value
    return value.replace(old, new, -1 if operator == "//" else 1)


def _slice(value: str, position: str, size: str | None) -> str:
    numbers = [position] if size is None else [position, size]
    if not all(re.fullmatch(r"[-+]?[0-9]+", number) for number in numbers):
        return value
    start, *length = map(int, numbers)
    if not value or start >= len(value):
        return ""
    if start < 0 or min(length, default=0) < 0:
        raise SubstitutionError("a negative position or length: not supported on this machine")
    return value[start:start + length[0]] if length else value[start:]
