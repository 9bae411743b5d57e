"""The fields of a YAML document, each read with the type that Drone gives it."""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import yaml

from taglab.engines.drone.conditions import Condition
from taglab.engines.drone.scalars import is_null, scalar, setting_text

ANY = "*"  # in a schema: whatever name
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?[kKmMgGtTpP]?[iI]?[bB]?")

Kind = Callable[["Reader", "yaml.Node | None"], object]
Schema = dict[str, "Kind | Schema | list[Kind | Schema]"]


class Fields(SimpleNamespace):
    """A mapping of the file: what its schema knows are its attributes, written or not.

    `line` is where it begins, `lines` are those of all that is written in it.
    """

    line: int
    lines: dict[str, int]

    def line_of(self, name: str) -> int:
        """Return the line where the field was written last."""
        return self.lines.get(name, self.line)


class Text(str):
    """A scalar as it was written, and its line."""

    line = 0


class Number(int):
    """A whole number, and the text that it was written as."""

    written = ""


@dataclass(frozen=True)
class Secret:
    """The value of a variable that is a secret with this name."""

    name: str
    line: int = 0


class Reader:
    """Reads the nodes of one document; what has a wrong type is kept in `errors`."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.errors: list[str] = []

    def fields(self, nodes: list[yaml.Node], schema: Schema) -> Fields | dict[str, object]:
        """Read a mapping.

        What is written twice, or comes from a merge key (`<<`), counts in the order of the file:
        mappings are merged, everything else is replaced.
        """
        found: dict[str, list[yaml.Node]] = {}
        lines: dict[str, int] = {}
        for key, value in (entry for node in nodes for entry in self.entries(node)):
            name = "" if is_null(key) else key.value
            found.setdefault(name, []).append(value)
            lines[name] = self.line_of(key)
        if ANY in schema:
            return {name: self.value(written, schema[ANY]) for name, written in found.items()}
        return Fields(line=self.line_of(nodes[-1]) if nodes else self.first_line, lines=lines,
                      **{name: self.value(found.get(name, []), kind)
                         for name, kind in schema.items()})

    def value(self, nodes: list[yaml.Node], kind: Kind | Schema | list) -> object:
        """Read what was written for a field; nothing and null give the empty value of its kind.

        Null undoes what was written before it, but for its errors.
        """
        nulls = [index for index, node in enumerate(nodes) if is_null(node)
                 and (not callable(kind) or node.value in ("", "~", "null"))]
        if nulls:
            self.value(nodes[:nulls[-1]], kind)
            nodes = nodes[nulls[-1] + 1:]
        if isinstance(kind, dict):
            return self.fields(nodes, kind)
        found = None
        for node in nodes or [None]:
            before = found
            found = kind(self, node) if callable(kind) else [
                self.value([item], kind[0]) for item in self._sequence(node)]
            if isinstance(before, Condition) and isinstance(node, yaml.ScalarNode):
                found = replace(found, exclude=before.exclude)  # a scalar replaces `include` alone
        return found

    def entries(self, node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return the keys and values of a mapping, with those of its merge keys."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a mapping")
            return []
        found = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, "a key")
            elif key.value == "<<" and not key.style:
                alias = value.start_mark.index < key.start_mark.index  # which must be a mapping
                bases = value.value if isinstance(value, yaml.SequenceNode) and not alias else [
                    value]
                for base in reversed(bases):  # the first of them counts most
                    found += self.entries(base)
            else:
                found.append((key, value))
        return found

    def _sequence(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is not None and not isinstance(node, yaml.SequenceNode):
            self.wrong(node, "a list")
        return node.value if isinstance(node, yaml.SequenceNode) else []

    def line_of(self, node: yaml.Node) -> int:
        """Return a node's line in the file."""
        return self.first_line + node.start_mark.line

    def wrong(self, node: yaml.Node, wanted: str) -> None:
        """Keep in `errors` that a node is not what is wanted."""
        found = "!!" + node.tag.rpartition(":")[2]
        shown = f" `{node.value[:20]}`" if isinstance(node, yaml.ScalarNode) else ""
        self.errors.append(f"line {self.line_of(node)}: cannot unmarshal {found}{shown} "
                           f"into {wanted}")


def text(reader: Reader, node: yaml.Node | None) -> Text:
    """Read a scalar as it was written."""
    if node is not None and not isinstance(node, yaml.ScalarNode):
        reader.wrong(node, "string")
    found = Text(node.value if isinstance(node, yaml.ScalarNode) and not is_null(node) else "")
    found.line = reader.line_of(node) if node else 0
    return found


def text_or(default: str) -> Kind:
    """Read a text that is never empty."""
    return lambda reader, node: text(reader, node) or Text(default)


def integer(reader: Reader, node: yaml.Node | None) -> Number:
    """Read a whole number; of another the part before the point."""
    value = _scalar(node)
    if value is None:
        return Number()
    if not _is_number(value):
        reader.wrong(node, "int")
        return Number()
    number = Number(value)
    number.written = node.value
    return number


def boolean(reader: Reader, node: yaml.Node | None) -> bool:
    """Read a YAML 1.1 boolean."""
    value = _scalar(node)
    if value is not None and not isinstance(value, bool):
        reader.wrong(node, "bool")
        return False
    return bool(value)


def size(reader: Reader, node: yaml.Node | None) -> Text:
    """Read a number of bytes, with or without a unit."""
    found = text(reader, node)
    value = _scalar(node)
    if value is not None and not _is_number(value) and not _SIZE.fullmatch(found):
        reader.wrong(node, "a size")
    return found


def or_fields(kind: Kind, schema: Schema) -> Kind:
    """Read a scalar of this kind or a mapping."""
    return lambda reader, node: (reader.fields([node], schema)
                                 if isinstance(node, yaml.MappingNode) else kind(reader, node))


def condition(reader: Reader, node: yaml.Node | None) -> Condition:
    """Read a condition: a scalar, a list, or a mapping of `include` and `exclude` lists.

    What has another form inside is dropped without a word, as in Drone.
    """
    if isinstance(node, yaml.ScalarNode):
        return Condition((text(reader, node),))
    if isinstance(node, yaml.SequenceNode):
        return Condition(_scalars(node))
    entries = Reader(reader.first_line).entries(node) if node else []
    lists = {key.value: value for key, value in entries
             if key.value in ("include", "exclude")
             and (isinstance(value, yaml.SequenceNode) or is_null(value))}
    return Condition(*(_scalars(lists[name]) if name in lists else ()
                       for name in ("include", "exclude")), dropped=len(lists) < len(entries))


def variable(reader: Reader, node: yaml.Node | None) -> str | Secret | None:
    """Read a text or `{from_secret: NAME}`; with null, the variable is not set at all."""
    if not isinstance(node, yaml.MappingNode):
        return None if node is None else text(reader, node)
    found = reader.fields([node], {"value": text, "from_secret": text})
    return Secret(found.from_secret, found.line) if found.from_secret.strip() else found.value


def setting(reader: Reader, node: yaml.Node | None) -> str | Secret | None:
    """Read a plugin's setting, of any form, as the text of its variable."""
    if isinstance(node, yaml.MappingNode):
        inner = Reader(reader.first_line)
        found = inner.fields([node], {"from_secret": text})
        if found.from_secret and not inner.errors:
            return Secret(found.from_secret, reader.line_of(node))
    return None if node is None else setting_text(_data(reader, node))


def _data(reader: Reader, node: yaml.Node) -> object:
    """Return a node as plain Python data."""
    if isinstance(node, yaml.SequenceNode):
        return [_data(reader, item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {scalar(key): _data(reader, value) for key, value in reader.entries(node)}
    return scalar(node)


def _is_number(value: object) -> bool:
    """Say whether it fits into an integer; `.inf` and `.nan` do not."""
    return not isinstance(value, (bool, str)) and abs(value) < 2**63


def _scalar(node: yaml.Node | None) -> object:
    """Return what a scalar is; for a list or a mapping a text, which is never right."""
    return None if node is None else scalar(node) if isinstance(node, yaml.ScalarNode) else "[]"


def _scalars(node: yaml.Node) -> tuple[str, ...]:
    """Return the scalars of a list, which null empties."""
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    return tuple("" if is_null(item) else item.value
                 for item in items if isinstance(item, yaml.ScalarNode))
