"""Splits `.drone.yml` into documents and parses each of them, as Drone does, within limits."""
from __future__ import annotations

import re

import yaml

from taglab.errors import LabError

_LONGEST_LINE = 64 * 1024  # bytes; Drone silently drops the file from a longer line on
_LARGEST_FILE = 1024 * 1024  # characters
_DEEPEST = 100
_MOST_NODES = 100_000
# Errors of PyYAML that Drone's parser does not always make.
_STRICTER = ("second occurrence", "found unexpected ':'", "<document start>",
             "expected whitespace or line break")
_ESCAPED_SLASH = re.compile(r"(?<!\\)(\\\\)*\\/")  # Drone's parser does not know this escape
_BOM_OR_DIRECTIVE = re.compile("\ufeff|^%", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FileError(LabError):
    """Drone, or this machine, rejects a file or one of its pipelines; the message says why."""


def parse_documents(text: str) -> list[tuple[int, yaml.Node | None]]:
    """Return the documents of a file, each with the number of its first line. Raises FileError."""
    if len(text) > _LARGEST_FILE:
        raise FileError("the file is larger than 1 MiB: not supported on this machine")
    return [(first_line, _parse("".join(f"{line}\n" for line in lines), first_line))
            for first_line, lines in _split(text)]


def _split(text: str) -> list[tuple[int, list[str]]]:
    """Split by lines, before YAML is parsed: `---` begins a document, `...` ends the file."""
    documents: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        if len(line.encode(errors="replace")) >= _LONGEST_LINE:
            raise FileError(f"line {number}: longer than 64 KiB: not supported on this machine, "
                            "and Drone drops the file from there on; move the text into a script")
        if line.startswith("---"):
            documents.append((number + 1, []))
            continue
        if not documents:
            documents.append((number, []))
        if line.startswith("..."):
            break
        documents[-1][1].append(line)
    return documents


def _parse(document: str, first_line: int) -> yaml.Node | None:
    try:
        text = document.lstrip("\ufeff")
        _refuse_ambiguous(text, first_line)
        node = yaml.compose(text, Loader=_LOADER)
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise FileError(f"line {first_line}: aliases expand this document to more than "
                            f"{_MOST_NODES} nodes: not supported on this machine")
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {first_line + mark.line}: " if mark else ""
        message = f"{line}{error.problem or error.context}"
        if any(each in message for each in _STRICTER) or (
                "unknown escape" in message and "\\'" in document):
            message += ": not supported on this machine"
        raise FileError(f"yaml: {message}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileError(f"yaml: {error}") from error


def _refuse_ambiguous(text: str, first_line: int) -> None:
    """Raise FileError for what Drone's YAML parser and PyYAML read differently."""
    if found := _BOM_OR_DIRECTIVE.search(text):
        line = first_line + text.count("\n", 0, found.start())
        raise FileError(f"line {line}: {found[0]!r} here: not supported on this machine; remove it")
    collections: list[bool] = []  # those that are open: whether in [] or {}
    for event in yaml.parse(text, Loader=_LOADER):
        start, end = event.start_mark, event.end_mark
        assert start and end  # the parser always sets them
        line = first_line + start.line
        if isinstance(event, yaml.CollectionStartEvent):
            collections.append(bool(event.flow_style))
        elif isinstance(event, yaml.CollectionEndEvent):
            collections.pop()
        elif (isinstance(event, yaml.ScalarEvent) and event.style == '"'
                and _ESCAPED_SLASH.search(text[start.index:end.index])):
            raise FileError(f"yaml: line {line}: found unknown escape character `\\/`")
        if reason := _ambiguity(event, collections):
            raise FileError(f"line {line}: {reason}: not supported on this machine")


def _ambiguity(event: yaml.Event, collections: list[bool]) -> str:
    if len(collections) > _DEEPEST:
        return f"nested more than {_DEEPEST} levels deep"
    if tag := getattr(event, "tag", None):
        return f"a tag ({tag})"
    if isinstance(event, yaml.ScalarEvent):
        if "\0" in event.value:
            return "a NUL (`\\0`)"
        if "?" in event.value and not event.style and any(collections):
            return "an unquoted `?` in [] or {} (to Drone, it introduces a key)"
    return ""


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Count the nodes with every alias expanded; infinite for a node that contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")
        children = ([child for pair in node.value for child in pair]
                    if isinstance(node, yaml.MappingNode) else node.value)
        sizes[id(node)] = 1 if isinstance(node, yaml.ScalarNode) else 1 + sum(
            _size(child, sizes) for child in children)
    return sizes[id(node)]
