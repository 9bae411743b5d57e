"""`${NAME}` in the text of `.drone.yml`, as Drone replaces it before it reads the YAML."""
from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping

from local.drone.documents import FileError
from local.drone.script import go_quote

_PLAIN = r"[^$\\/:}]+|."


class SubstitutionError(FileError):
    """The text holds a `${…}` that Drone cannot read; the message is Drone's."""

    line = 0  # where it is, once known


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Replace every `${…}` of `text`; an unknown name is empty, `$$` is `$`, `\\\\` is `\\`."""
    return _Reader(text, variables).read()


def used_names(text: str) -> list[tuple[int, str]]:
    """Return the line and the name of every `${NAME…}`. Raises SubstitutionError with its line."""
    reader = _Reader(text, {})
    reader.read()
    ends = [found.start() for found in re.finditer("\n", text)]
    return [(bisect(ends, position) + 1, name) for position, name in reader.names]


class _Reader:
    """Reads a text from left to right, once."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.whole, self.variables = text, variables
        self.at = self.begin = 0  # what is read next, and where the newest `${` is
        self.names: list[tuple[int, str]] = []

    def read(self) -> str:
        """Read all of the text. Raises SubstitutionError."""
        try:
            return self.text(stop="")[0]
        except RecursionError:
            error = SubstitutionError("`${…}` in `${…}` too deep: not supported on this machine")
        except SubstitutionError as caught:
            error = caught
        error.line = self.whole.count("\n", 0, self.begin) + 1
        raise error

    def text(self, stop: str) -> tuple[str, str]:
        """Read up to one of the characters in `stop`; return what it says and that character."""
        parts = []
        while self.at < len(self.whole):
            two = self.whole[self.at:self.at + 2]
            if two[0] in stop:
                return "".join(parts), two[0]
            if two in ("${", "$$", "\\\\", "\\/"):
                self.at += 2
                parts.append(self.expression() if two == "${" else two[1])
            else:
                parts.append(self.take(_PLAIN))
        return "".join(parts), ""

    def expression(self) -> str:
        """Read what follows `${`, up to and with its `}`."""
        self.begin = self.at
        length = self.take("#")
        name = self.take(r"\w+")
        if not name:
            raise SubstitutionError("unable to parse variable name")
        self.names.append((self.begin, name))
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
        found = re.compile(pattern, re.DOTALL).match(self.whole, self.at)
        if not found:
            return ""
        self.at = found.end()
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
    try:
        return re.compile("".join(part if len(part) > 1 else meaning.get(part, re.escape(part))
                                  for part in parts), re.DOTALL)
    except re.error as error:
        raise SubstitutionError(f"`{pattern}`: not supported on this machine") from error


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
