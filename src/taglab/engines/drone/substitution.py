"""Substitution of `${NAME}` in the text of `.drone.yml`, which Drone does before it parses YAML.

Follows Drone's library envsubst 1.0, which differs from a shell in many operators.
"""
from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Mapping

from taglab.engines.drone.documents import FileError
from taglab.engines.drone.globs import class_ranges
from taglab.engines.drone.golang import go_quote, parse_int64


class SubstitutionError(FileError):
    """The text contains a `${…}` that Drone cannot expand; the message is Drone's."""

    line = 0  # of the `${…}`, once it is known


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Replace every `${…}`, `$$` with `$`, `\\\\` with `\\`, and `\\/` with `/`.

    An unknown name is empty. Raises SubstitutionError.
    """
    return _Expander(text, variables).expand()


def used_names(text: str) -> list[tuple[int, str]]:
    """Return the line and name of every `${NAME…}`. Raises SubstitutionError."""
    expander = _Expander(text, {})
    expander.expand()
    line_ends = [found.start() for found in re.finditer("\n", text)]
    return [(bisect(line_ends, position) + 1, name) for position, name in expander.names]


class _Expander:
    """Expands a text in one pass from left to right."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.text, self.variables = text, variables
        self.position = 0  # of the next character
        self.latest = 0  # position after the latest `${`
        self.names: list[tuple[int, str]] = []  # each with its position

    def expand(self) -> str:
        """Return the expanded text. Raises SubstitutionError with its line."""
        try:
            if "\0" in self.text:
                raise SubstitutionError("a NUL in the file: not supported on this machine")
            return "".join(self.parts())
        except RecursionError:
            error = SubstitutionError("`${…}` is nested too deeply: not supported on this machine")
        except UnicodeDecodeError:
            error = SubstitutionError("a slice splits a character: not supported on this machine")
        except SubstitutionError as caught:
            error = caught
        error.line = self.text.count("\n", 0, self.latest) + 1
        raise error

    def parts(self) -> Iterator[str]:
        """Yield the expansion of each `${…}`, and the text between them."""
        while self.position < len(self.text):
            if self.take(r"\$\{"):
                yield self.expression()
            else:
                yield self.unescaped(r"\$\$|\\[\\/]|[^$\\]+|.")

    def expression(self) -> str:
        """Expand what follows `${`, to the end of its `}`."""
        self.latest = self.position
        length = self.take("#")
        name = self.take(r"\w+")
        if not name:
            raise SubstitutionError("unable to parse variable name")
        self.names.append((self.latest, name))
        value = self.variables.get(name, "")
        if "\n" in value:
            value = go_quote(value)
        value = str(len(value.encode())) if length else self.apply_operator(value)
        if not self.take("}"):
            raise SubstitutionError("missing closing brace")
        return value

    def apply_operator(self, value: str) -> str:
        """Apply the operator that follows a name, if there is one."""
        if operator := self.take(r"[\^,]{1,2}"):
            return _change_case(value, operator)
        if operator := self.take("##?|%%?"):
            return _trim(value, operator, self.argument("[^}]"))
        if operator := self.take("//|/#|/%|/"):
            old = self.argument("[^/]", escapes=True)
            if not self.take("/+"):
                raise SubstitutionError("bad substitution")
            new = None if self.next_is("}") else self.argument("[^}]", escapes=True)
            return _replace(value, operator, old, new)
        if self.take(":?=|:[-?+]"):
            default = ""
            while not self.next_is("}"):
                default += self.argument("[^}]")
            return value or default
        if self.take(":"):
            if not self.text[self.position:self.position + 1].isascii():
                raise SubstitutionError("bad substitution")
            start = self.argument("[^:}]")
            length = self.argument("[^}]") if self.take(":+") else None
            return _slice(value, start, length)
        return value

    def argument(self, character: str, escapes: bool = False) -> str:
        """Return the next `${…}` expanded, or the characters of this class up to the next one."""
        if self.take(r"\$\{"):
            return self.expression()
        if escapes:
            found = self.unescaped(rf"(?:(?!\$\{{)(?:\$\$|\\[\\/]|{character}))+")
        else:
            found = self.take(rf"(?:(?!\$\{{){character})+")
        if not found:
            raise SubstitutionError("unable to parse substitution within function")
        return found

    def unescaped(self, pattern: str) -> str:
        """Take what matches, and reduce `$$`, `\\\\` and `\\/` to the second character."""
        return re.sub(r"\$(\$)|\\([\\/])", r"\1\2", self.take(pattern))

    def next_is(self, character: str) -> bool:
        return self.text.startswith(character, self.position)

    def take(self, pattern: str) -> str:
        """Advance past a match of the pattern and return it, or "" if there is none."""
        found = re.compile(pattern, re.DOTALL).match(self.text, self.position)
        if not found:
            return ""
        self.position = found.end()
        return found[0]


def _change_case(value: str, operator: str) -> str:
    """Change each character by itself; as in Go, one that would become two stays."""
    if operator in ("^,", ",^"):
        return value
    change = str.upper if operator[0] == "^" else str.lower
    count = len(value) if len(operator) == 2 else 1
    return "".join(changed if len(changed := change(each)) == 1 else each
                   for each in value[:count]) + value[count:]


def _trim(value: str, operator: str, pattern: str) -> str:
    if not value.isascii() and re.search(r"[*?\[\\]", pattern):
        raise SubstitutionError(f"`{operator}{pattern}` on a value that is not ASCII: "
                                "not supported on this machine")
    if operator[0] == "%":  # Drone reverses value and pattern, which breaks `[…]`
        return _trim(value[::-1], "#" * len(operator), pattern[::-1])[::-1]
    glob = _compile_glob(pattern)
    lengths = range(1, len(value) + 1) if operator == "#" else range(len(value), 0, -1)
    return next((value[size:] for size in lengths if glob.fullmatch(value[:size])), value)


def _compile_glob(pattern: str) -> re.Pattern[str]:
    """Translate a glob in which `*` matches `/` too; an invalid one matches nothing."""
    member = r"(?:\\.|[^\\\]-])"
    parts = re.finditer(rf"\[(\^?)((?:{member}(?:-{member})?)+)\]|\\(.)|(.)", pattern, re.DOTALL)
    return re.compile("".join(map(_glob_part, parts)), re.DOTALL)


def _glob_part(part: re.Match[str]) -> str:
    negated, members, escaped, character = part.groups()
    if members is not None:
        ranges = "".join(f"{re.escape(low)}-{re.escape(high)}"
                         for low, high in class_ranges(members) if low <= high)
        return f"[{negated}{ranges}]" if ranges else "." if negated else "(?!)"
    if escaped is not None:
        return re.escape(escaped)
    return {"*": ".*", "?": ".", "[": "(?!)", "\\": "(?!)"}.get(character, re.escape(character))


def _replace(value: str, operator: str, old: str, new: str | None) -> str:
    """Replace the text `old`; without `new`, Drone leaves the beginning and the end as they are."""
    if operator == "/#":
        return new + value[len(old):] if new is not None and value.startswith(old) else value
    if operator == "/%":
        if new is None or not value.endswith(old):
            return value
        return value[:len(value) - len(old)] + new
    return value.replace(old, new or "", -1 if operator == "//" else 1)


def _slice(value: str, start: str, length: str | None) -> str:
    """Slice by bytes; what are no numbers leave the value as it is.

    Raises UnicodeDecodeError if that splits a character.
    """
    encoded = value.encode()
    try:
        first = parse_int64(start)
        size = len(encoded) if length is None else parse_int64(length)
    except ValueError:
        return value
    if first < 0:  # counted from the end
        first = max(0, first + len(encoded))
    end = len(encoded) if length is None else first + size
    if end >= len(encoded):
        return encoded[first:].decode()
    if end < first:
        raise SubstitutionError("a negative length, on which Drone crashes: not supported on this "
                                "machine")
    return encoded[first:end].decode()
