"""Decodes the mappings of a YAML document by a schema, as Drone decodes them into its structs."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Self

import yaml

from taglab.engines.drone.conditions import Condition
from taglab.engines.drone.scalars import is_null


class Fields(SimpleNamespace):
    """A decoded mapping: every field of its schema is an attribute, even if the file omits it.

    `line` is where the mapping begins; `lines` has the line of each field in the file.
    """

    line: int
    lines: dict[str, int]

    def line_of(self, name: str) -> int:
        """Return the last line that sets the field, or where the mapping begins."""
        return self.lines.get(name, self.line)


class String(str):
    """A scalar as it is written, and its line; 0 if it is not in the file."""

    line: int

    def __new__(cls, value: str = "", line: int = 0) -> Self:
        string = super().__new__(cls, value)
        string.line = line
        return string


class Integer(int):
    """A whole number, and how the file writes it."""

    written: str

    def __new__(cls, value: float = 0, written: str = "") -> Self:
        integer = super().__new__(cls, value)
        integer.written = written
        return integer


@dataclass(frozen=True)
class Secret:
    """The name of the secret that a variable takes its value from."""

    name: str
    line: int = 0


# Decodes a node; None, for a field that the file omits, gives the zero value of the type.
DecodeField = Callable[["Decoder", "yaml.Node | None"], object]


@dataclass(frozen=True)
class MapOf:
    """In a schema: a mapping with any keys, and values of one type."""

    value: DecodeField


Schema = Mapping[str, "FieldType"]
# A sequence has one item, the type of the items of a list.
FieldType = DecodeField | Schema | MapOf | Sequence["DecodeField | Schema"]


class Decoder:
    """Decodes the nodes of one document and collects its type errors in `errors`."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.errors: list[str] = []

    def fields(self, nodes: list[yaml.Node], schema: Schema) -> Fields:
        """Decode mappings that are set for the same field, with their merge keys (`<<`).

        Later entries win, in the order of the file: inner mappings are merged, everything else is
        replaced.
        """
        values, lines = self._grouped(nodes)
        return Fields(line=self.line_of(nodes[-1]) if nodes else self.first_line, lines=lines,
                      **{name: self._value(values.get(name, []), field_type)
                         for name, field_type in schema.items()})

    def entries(self, node: yaml.Node) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        """Return the keys and values of a mapping, with those of its merge keys in place."""
        if not isinstance(node, yaml.MappingNode):
            self.reject(node, "a mapping")
            return []
        found = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.reject(key, "a key")
            elif key.value == "<<" and not key.style:
                is_alias = value.start_mark.index < key.start_mark.index
                bases = [value]
                if isinstance(value, yaml.SequenceNode) and not is_alias:  # Drone rejects an alias
                    bases = value.value[::-1]  # the first of the list wins
                for base in bases:
                    found += self.entries(base)
            else:
                found.append((key, value))
        return found

    def line_of(self, node: yaml.Node) -> int:
        """Return a node's line in the file."""
        return self.first_line + node.start_mark.line

    def reject(self, node: yaml.Node, wanted: str) -> None:
        """Add to `errors` that a node has another type than `wanted`."""
        found = "!!" + node.tag.rpartition(":")[2]
        shown = f" `{node.value[:20]}`" if isinstance(node, yaml.ScalarNode) else ""
        self.errors.append(f"line {self.line_of(node)}: cannot unmarshal {found}{shown} "
                           f"into {wanted}")

    def _grouped(self, nodes: list[yaml.Node]) -> tuple[
            dict[str, list[yaml.Node]], dict[str, int]]:
        """Return the values of each key, in the order of the file, and the line of the last."""
        values: dict[str, list[yaml.Node]] = {}
        lines: dict[str, int] = {}
        for key, value in (entry for node in nodes for entry in self.entries(node)):
            name = "" if is_null(key) else key.value
            values.setdefault(name, []).append(value)
            lines[name] = self.line_of(key)
        return values, lines

    def _value(self, nodes: list[yaml.Node], field_type: FieldType) -> object:
        """Decode a field from everything that is set for it; null discards what precedes it."""
        nulls = [index for index, node in enumerate(nodes) if is_null(node)
                 and (not callable(field_type) or node.value in ("", "~", "null"))]
        if nulls:
            self._value(nodes[:nulls[-1]], field_type)  # for its errors, which Drone still reports
            nodes = nodes[nulls[-1] + 1:]
        if isinstance(field_type, Mapping):
            return self.fields(nodes, field_type)
        if isinstance(field_type, MapOf):
            return {name: self._value(values, field_type.value)
                    for name, values in self._grouped(nodes)[0].items()}
        found: object = None
        for node in nodes or (None,):
            previous = found
            found = (field_type(self, node) if callable(field_type)
                     else self._list(node, field_type[0]))
            if (isinstance(found, Condition) and isinstance(previous, Condition)
                    and isinstance(node, yaml.ScalarNode)):
                found = replace(found, exclude=previous.exclude)  # it replaces `include` alone
        return found

    def _list(self, node: yaml.Node | None, field_type: DecodeField | Schema) -> list[object]:
        if isinstance(node, yaml.SequenceNode):
            return [self._value([item], field_type) for item in node.value]
        if node is not None:
            self.reject(node, "a list")
        return []
