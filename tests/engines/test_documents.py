"""What Drone's parser and PyYAML read differently is refused, with its line."""
from __future__ import annotations

import pytest

from taglab.engines.drone.documents import FileError, parse_documents

REFUSED = [
    ("a: 1\n\ufeffb: 2\n", "line 2: '\\ufeff' here"),
    ("---\n%YAML 1.2\na: 1\n", "line 2: '%' here"),
    ("a: 1\nb: " + "[" * 101 + "]" * 101, "line 2: nested more than 100 levels deep"),
    ("a: 1\nb: !!str 1\n", "line 2: a tag (tag:yaml.org,2002:str)"),
    ('a: 1\nb: "\\0"\n', "line 2: a NUL"),
    ("a: 1\nb: [c?]\n", "line 2: an unquoted `?` in [] or {}"),
    ("a: 1\nb: " + "x" * 65536, "line 2: longer than 64 KiB"),
    ("a" * (1024 * 1024 + 1), "the file is larger than 1 MiB"),
    ("a: &a [" + "x, " * 1000 + "]\nb: &b [" + "*a, " * 101 + "]\n",
     "line 1: aliases expand this document to more than 100000 nodes"),
    ("a: &a [*a]\n", "line 1: aliases expand this document"),
]


@pytest.mark.parametrize("text, message", REFUSED, ids=[message for _, message in REFUSED])
def test_ambiguous_and_huge_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(FileError) as refused:
        parse_documents(text)
    assert str(refused.value).startswith(message)
    assert "not supported on this machine" in str(refused.value)


def test_an_escaped_slash_is_drones_own_error() -> None:
    with pytest.raises(FileError, match="^yaml: line 2: found unknown escape character `.*/`$"):
        parse_documents('a: 1\nb: "\\/"\n')


def test_documents_are_split_by_lines_and_counted_in_the_file() -> None:
    text = "a: 1\n--- # comment\nb: |\n  x\n----\nc: 3\n...\nd: 4\n"
    assert [(line, node and node.value[0][0].value) for line, node in parse_documents(text)] == [
        (1, "a"), (3, "b"), (6, "c")]
    assert parse_documents("") == []
    assert parse_documents("---\n") == [(2, None)]
