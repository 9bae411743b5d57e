"""Reads `.drone.yml` as Drone does: documents, merge keys, and scalars as they were written."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from local.drone.conditions import Condition

_LONGEST_LINE = 64 * 1024  # Drone drops the file from a longer line on, without a word
_LARGEST_FILE = 1024 * 1024
_DEEPEST = 100
_MOST_NODES = 100_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FileError(Exception):
    """Drone, or this machine, rejects the whole file; the message says why."""


@dataclass(frozen=True)
class Document:
    """One YAML document: the number of its first line in the file, and its fields."""

    line: int
    fields: "Fields"


def read_documents(text: str) -> list[Document]:
    """Split a file into its documents and parse each. Raises FileError."""
    if len(text) > _LARGEST_FILE:
        raise FileError("the file is larger than 1 MiB: not supported on this machine")
    return [Document(line, Fields([_parse(lines, line)], line)) for line, lines in _split(text)]


def _split(text: str) -> list[tuple[int, list[str]]]:
    """Split by lines before any YAML: `---` begins a document, `...` ends the file."""
    documents: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line.encode(errors="replace")) >= _LONGEST_LINE:
            raise FileError(f"line {number}: longer than 64 KiB: not supported on this machine, "
                            "and Drone ignores the file from there on. Move it into a script")
        if line.startswith("---"):
            documents.append((number + 1, []))
        elif line.startswith("..."):
            break
        else:
            if not documents:
                documents.append((number, []))
            documents[-1][1].append(line)
    return documents


def _parse(lines: list[str], first_line: int) -> yaml.Node | None:
    try:
        text = "\n".join(lines).lstrip("\ufeff")
        _refuse_depth(text, first_line)
        node = yaml.compose(text, Loader=_LOADER)
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise FileError(f"line {first_line}: aliases make this document larger than "
                            f"{_MOST_NODES} nodes: not supported on this machine")
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {first_line + mark.line}: " if mark else ""
        raise FileError(f"yaml: {line}{error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileError(f"yaml: {error}") from error


def _refuse_depth(text: str, first_line: int) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise FileError(f"line {first_line + event.start_mark.line}: nested more than "
                            f"{_DEEPEST} deep: not supported on this machine")


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Count the nodes with all aliases written out; a node inside itself has no end."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")
        children = ([child for pair in node.value for child in pair]
                    if isinstance(node, yaml.MappingNode) else node.value)
        sizes[id(node)] = 1 if isinstance(node, yaml.ScalarNode) else 1 + sum(
            _size(child, sizes) for child in children)
    return sizes[id(node)]


class Fields:
    """The fields of a mapping, each read with the type that Drone gives it.

    What is written twice, or comes from a merge key (`<<`), counts in the order of the file:
    mappings are merged, everything else is replaced. A wrong type is kept in `errors`.
    """

    def __init__(self, nodes: list[yaml.Node | None], first_line: int,
                 errors: list[str] | None = None) -> None:
        self.first_line = first_line
        self.errors = [] if errors is None else errors
        self._nodes: dict[str, list[yaml.Node]] = {}
        self._lines: dict[str, int] = {}
        self.line = first_line
        self.is_nothing = all(node is None or _is_null(node) for node in nodes)
        for node in filter(None, nodes):
            self.line = self._line_of(node)
            for key, value in self._entries(node):
                self._nodes.setdefault(key.value, []).append(value)
                self._lines[key.value] = self._line_of(key)

    def _entries(self, node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        if _is_null(node):
            return
        if not isinstance(node, yaml.MappingNode):
            self._wrong_type(node, "a mapping")
            return
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong_type(key, "a key")
            elif key.value == "<<" and key.tag.endswith(":merge"):
                for base in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from self._entries(base)
            else:
                yield key, value

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def line_of(self, name: str) -> int:
        """Return the line in the file where the field was written last."""
        return self._lines.get(name, self.line)

    def has(self, name: str) -> bool:
        """Say whether the field has a value that is not null or empty."""
        node = self._last(name)
        return node is not None and node.value not in ("", []) and not _is_false(node)

    def text(self, name: str) -> str:
        """Return a scalar as it was written; "" where it is missing or null."""
        return self._scalar(self._last(name))

    def integer(self, name: str) -> int:
        """Return a whole number; 0 where it is missing."""
        node = self._last(name)
        if node is None:
            return 0
        value = _plain(node)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (
                not abs(value) < 2**63):  # as `.inf` and `.nan` are not
            self._wrong_type(node, "int")
            return 0
        return int(value)

    def boolean(self, name: str) -> bool:
        """Return a YAML 1.1 boolean; False where it is missing."""
        node = self._last(name)
        if node is not None and not _is_boolean(node):
            self._wrong_type(node, "bool")
        return self._scalar(node).lower() in ("yes", "true", "on", "y")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of scalars; a lone scalar is an error, as in Drone."""
        return tuple(map(self._scalar, self._sequence(name)))

    def text_lines(self, name: str) -> list[tuple[int, str]]:
        """Return a list of scalars, each with its line in the file."""
        return [(self._line_of(node), self._scalar(node)) for node in self._sequence(name)]

    def items(self, name: str) -> list["Fields"]:
        """Return a list of mappings."""
        return [Fields([node], self.first_line, self.errors) for node in self._sequence(name)]

    def fields(self, name: str) -> "Fields":
        """Return a mapping."""
        return Fields(self._nodes.get(name, []), self.first_line, self.errors)

    def condition(self, name: str) -> Condition:
        """Return a condition: a scalar, a list, or a mapping of `include` and `exclude` lists.

        What has another form inside is dropped without a word, as in Drone.
        """
        node = self._last(name)
        if isinstance(node, yaml.ScalarNode):
            return Condition(include=(node.value,))
        if isinstance(node, yaml.SequenceNode):
            return Condition(include=_scalars(node))
        fields = Fields([node], self.first_line, [])
        return Condition(_scalars(fields._last("include")), _scalars(fields._last("exclude")))

    def data(self, name: str) -> object:
        """Return plain Python data, of any form."""
        node = self._last(name)
        return None if node is None else _plain(node)

    def is_mapping(self, name: str) -> bool:
        """Say whether the field is a mapping."""
        return isinstance(self._last(name), yaml.MappingNode)

    def is_list(self, name: str) -> bool:
        """Say whether the field is a list."""
        return isinstance(self._last(name), yaml.SequenceNode)

    def reject(self, name: str, wanted: str) -> None:
        """Keep in `errors` that the field is not what is wanted."""
        self._wrong_type(self._last(name), wanted)

    def is_null(self, name: str) -> bool:
        """Say whether the field is missing or null."""
        return self._last(name) is None

    def _last(self, name: str) -> yaml.Node | None:
        node = self._nodes.get(name, [None])[-1]
        return None if node is None or _is_null(node) else node

    def _sequence(self, name: str) -> list[yaml.Node]:
        node = self._last(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._wrong_type(node, "a list")
            return []
        return node.value

    def _scalar(self, node: yaml.Node | None) -> str:
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._wrong_type(node, "string")
            return ""
        return node.value

    def _line_of(self, node: yaml.Node) -> int:
        return self.first_line + node.start_mark.line

    def _wrong_type(self, node: yaml.Node, wanted: str) -> None:
        found = "!!" + node.tag.rpartition(":")[2]
        shown = f" `{node.value[:20]}`" if isinstance(node, yaml.ScalarNode) else ""
        self.errors.append(f"line {self._line_of(node)}: cannot unmarshal {found}{shown} "
                           f"into {wanted}")


def _is_null(node: yaml.Node) -> bool:
    return node.tag.endswith(":null")


def _is_boolean(node: yaml.Node) -> bool:
    """Say whether Go's YAML takes a node for a boolean; PyYAML leaves out `y` and `n`."""
    return node.tag.endswith(":bool") or (not getattr(node, "style", "'")
                                          and node.value in ("y", "Y", "n", "N"))


def _is_false(node: yaml.Node) -> bool:
    return _is_boolean(node) and node.value.lower() in ("no", "false", "off", "n")


def _plain(node: yaml.Node) -> object:
    """Return a node as plain Python data; what its tag does not allow is a text."""
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return str(node.value)


def _scalars(node: yaml.Node | None) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode):
        return ()
    return tuple("" if _is_null(item) else item.value
                 for item in node.value if isinstance(item, yaml.ScalarNode))
