"""`${NAME}` in the text of `.drone.yml`, as Drone replaces it before it reads the YAML."""
from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Mapping

from taglab.engines.drone.documents import FileError
from taglab.engines.drone.script import go_quote


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
            if "\0" in self.whole:
                raise SubstitutionError("a NUL in the file: not supported on this machine")
            return "".join(self.parts())
        except RecursionError:
            error = SubstitutionError("`${…}` in `${…}` too deep: not supported on this machine")
        except UnicodeDecodeError:
            error = SubstitutionError("half of a character: not supported on this machine")
        except SubstitutionError as caught:
            error = caught
        error.line = self.whole.count("\n", 0, self.begin) + 1
        raise error

    def parts(self) -> Iterator[str]:
        """Yield what each `${…}` and each text between them says."""
        while self.at < len(self.whole):
            yield self.expression() if self.take(r"\$\{") else self.unescaped(
                r"\$\$|\\[\\/]|[^$\\]+|.")

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
            if not self.whole[self.at:self.at + 1].isascii():
                raise SubstitutionError("bad substitution")
            position = self.argument("[^:}]")
            size = self.argument("[^}]") if self.take(":+") else None
            return _slice(value, position, size)
        return value

    def argument(self, character: str, escapes: bool = False) -> str:
        """Read one `${…}`, or characters of this kind up to the next one."""
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
        """Read what matches the pattern; of `$$`, `\\\\` and `\\/` the second character stays."""
        return re.sub(r"\$(\$)|\\([\\/])", r"\1\2", self.take(pattern))

    def next_is(self, character: str) -> bool:
        return self.whole.startswith(character, self.at)

    def take(self, pattern: str) -> str:
        found = re.compile(pattern, re.DOTALL).match(self.whole, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found[0]


def _change_case(value: str, operator: str) -> str:
    """Change each character by itself; what would become two stays, as in Go."""
    if operator in ("^,", ",^"):
        return value
    change = str.upper if operator[0] == "^" else str.lower
    count = len(value) if len(operator) == 2 else 1
    return "".join(changed if len(changed := change(each)) == 1 else each
                   for each in value[:count]) + value[count:]


def _trim(value: str, operator: str, pattern: str) -> str:
    if not value.isascii() and re.search(r"[*?\[\\]", pattern):
        raise SubstitutionError(f"`{operator}{pattern}` on a value beyond ASCII: not supported "
                                "on this machine")
    if operator[0] == "%":  # Drone trims the end by reversing both, which breaks `[…]`
        return _trim(value[::-1], "#" * len(operator), pattern[::-1])[::-1]
    glob = _glob(pattern)
    lengths = range(1, len(value) + 1) if operator == "#" else range(len(value), 0, -1)
    return next((value[size:] for size in lengths if glob.fullmatch(value[:size])), value)


def _glob(pattern: str) -> re.Pattern[str]:
    """Translate `*`, `?` and `[…]`; here `*` crosses `/`, and what is no pattern matches nothing.
    """
    member = r"(?:\\.|[^\\\]-])"
    parts = re.finditer(rf"\[(\^?)((?:{member}(?:-{member})?)+)\]|\\(.)|(.)", pattern, re.DOTALL)
    return re.compile("".join(map(_glob_part, parts)), re.DOTALL)


def _glob_part(part: re.Match[str]) -> str:
    negated, members, escaped, character = part.groups()
    if members is not None:
        ranges = [(low[-1], (high or low)[-1]) for low, high in re.findall(
            r"(\\.|[^\\])(?:-(\\.|[^\\]))?", members, re.DOTALL)]
        listed = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges
                         if low <= high)
        return f"[{negated}{listed}]" if listed else "." if negated else "(?!)"
    if escaped is not None:
        return re.escape(escaped)
    return {"*": ".*", "?": ".", "[": "(?!)", "\\": "(?!)"}.get(character, re.escape(character))


def _replace(value: str, operator: str, old: str, new: str | None) -> str:
    """Replace the text `old`; without `new` Drone leaves the beginning and the end as they are."""
    if operator == "/#":
        return new + value[len(old):] if new is not None and value.startswith(old) else value
    if operator == "/%":
        found = new is not None and value.endswith(old)
        return value[:len(value) - len(old)] + new if found else value
    return value.replace(old, new or "", -1 if operator == "//" else 1)


def _slice(value: str, position: str, size: str | None) -> str:
    """Cut out by bytes. Raises UnicodeDecodeError where that halves a character."""
    found = [re.fullmatch(r"([-+]?)0*([0-9]{1,19})", each)
             for each in ([position] if size is None else [position, size])]
    if not all(found):
        return value
    start, *length = [int(each[1] + each[2]) for each in found]
    if not all(-2**63 <= each < 2**63 for each in (start, *length)):
        return value
    written = value.encode()
    if start < 0:  # counted from the end
        start = max(0, start + len(written))
    end = start + length[0] if length else len(written)
    if end >= len(written):
        return written[start:].decode()
    if end < start:
        raise SubstitutionError("a negative length, on which Drone crashes: not supported on this "
                                "machine")
    return written[start:end].decode()
