"""Splits `.drone.yml` into its documents and parses each, as Drone does, within bounds."""
from __future__ import annotations

import re

import yaml

from taglab.errors import LabError

_LONGEST_LINE = 64 * 1024  # Drone drops the file from a longer line on, without a word
_LARGEST_FILE = 1024 * 1024
_DEEPEST = 100
_MOST_NODES = 100_000
_STRICTER = ("second occurrence", "found unexpected ':'", "<document start>",
             "expected whitespace or line break")  # errors here and not always in Drone
_SLASH = re.compile(r"(?<!\\)(\\\\)*\\/")  # escaped, which Drone's YAML does not know
_ODD = re.compile("\ufeff|^%", re.MULTILINE)  # a byte order mark, or a line of directives
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FileError(LabError):
    """Drone, or this machine, rejects a file or one of its pipelines; the message says why."""


def parse_documents(text: str) -> list[tuple[int, yaml.Node | None]]:
    """Return the documents of a file, each with the number of its first line. Raises FileError."""
    if len(text) > _LARGEST_FILE:
        raise FileError("the file is larger than 1 MiB: not supported on this machine")
    return [(line, _parse(lines, line)) for line, lines in _split(text)]


def _split(text: str) -> list[tuple[int, list[str]]]:
    """Split by lines before any YAML: `---` begins a document, `...` ends the file."""
    documents: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        if len(line.encode(errors="replace")) >= _LONGEST_LINE:
            raise FileError(f"line {number}: longer than 64 KiB: not supported on this machine, "
                            "and Drone ignores the file from there on. Move it into a script")
        if line.startswith("---"):
            documents.append((number + 1, []))
            continue
        if not documents:
            documents.append((number, []))
        if line.startswith("..."):
            break
        documents[-1][1].append(line)
    return documents


def _parse(lines: list[str], first_line: int) -> yaml.Node | None:
    try:
        text = "".join(f"{line}\n" for line in lines).lstrip("\ufeff")
        if odd := _ODD.search(text):
            raise FileError(f"line {first_line + text.count(chr(10), 0, odd.start())}: {odd[0]!r} "
                            "here: not supported on this machine; remove it")
        _refuse_unusual(text, first_line)
        node = yaml.compose(text, Loader=_LOADER)
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise FileError(f"line {first_line}: aliases make this document larger than "
                            f"{_MOST_NODES} nodes: not supported on this machine")
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {first_line + mark.line}: " if mark else ""
        words = f"{line}{error.problem or error.context}"
        if any(each in words for each in _STRICTER) or (
                "unknown escape" in words and "\\'" in text):
            words += ": not supported on this machine"
        raise FileError(f"yaml: {words}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileError(f"yaml: {error}") from error


def _refuse_unusual(text: str, first_line: int) -> None:
    flows: list[bool] = []  # of the collections that are open: whether in [] or {}
    for event in yaml.parse(text, Loader=_LOADER):
        unusual = ""
        if isinstance(event, yaml.CollectionStartEvent):
            flows.append(event.flow_style)
        elif isinstance(event, yaml.CollectionEndEvent):
            flows.pop()
        elif isinstance(event, yaml.ScalarEvent):
            written = text[event.start_mark.index:event.end_mark.index]
            if event.style == '"' and _SLASH.search(written):
                raise FileError(f"yaml: line {first_line + event.start_mark.line}: found unknown "
                                "escape character `\\/`")
            if "\0" in event.value:
                unusual = "a NUL (`\\0`)"
            elif "?" in event.value and not event.style and any(flows):
                unusual = "`?` in [] or {} without quotes (Drone sees the sign of a key)"
        if len(flows) > _DEEPEST:
            unusual = f"nested more than {_DEEPEST} deep"
        elif getattr(event, "tag", None):
            unusual = f"a tag ({event.tag})"
        if unusual:
            raise FileError(f"line {first_line + event.start_mark.line}: {unusual}: not supported "
                            "on this machine")


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Count the nodes with all aliases written out; a node inside itself has no end."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")
        children = ([child for pair in node.value for child in pair]
                    if isinstance(node, yaml.MappingNode) else node.value)
        sizes[id(node)] = 1 if isinstance(node, yaml.ScalarNode) else 1 + sum(
            _size(child, sizes) for child in children)
    return sizes[id(node)]
