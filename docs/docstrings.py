"""Lets mkdocstrings show taglab's docstrings.

A paragraph of `name: text` lines becomes a list, and so do the comments behind parameters.
"""
from __future__ import annotations

import re
from typing import Any

import griffe

_COMMENT = re.compile(r"(?m)^    (\w+): .*?,\s+# (.+)$")
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): ")


class Entries(griffe.Extension):
    """Rewrites the docstring of each object that is loaded."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring:
            comments = _COMMENT.findall(obj.source) if obj.is_function else []
            lines = "".join(f"{name}: {text}\n" for name, text in comments)
            first, _, rest = obj.docstring.value.partition("\n\n")
            obj.docstring.value = with_lists("\n\n".join(filter(None, (first, lines, rest))))


def with_lists(text: str) -> str:
    """Return a docstring in which paragraphs of `name: text` lines are lists of Markdown."""
    return "\n\n".join(_as_list(paragraph) for paragraph in text.split("\n\n"))


def _as_list(paragraph: str) -> str:
    entries: list[str] = []
    for line in paragraph.splitlines():
        if _ENTRY.match(line):
            entries.append(_ENTRY.sub(r"- **\1**: ", line))
        elif entries and line.startswith("    "):
            entries[-1] += " " + line.strip()
        else:
            return paragraph
    return "\n".join(entries) or paragraph
