"""A report as a page that needs nothing else, and as Markdown."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from taglab.report.document import (
    CODE, Block, Cell, Code, Facts, Note, Picture, Report, Table, Title)

# What Markdown gives a meaning within a line. An underscore has none inside a word.
_SPECIAL = re.compile(r"[\\`*\[\]|~#!]|(?<!\w)_|_(?!\w)")


def to_html(report: Report) -> str:
    """Return one page, with its style and its images in it; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.get_template("page.html.jinja").render(report=report)


def to_markdown(report: Report) -> str:
    """Return the same as Markdown for GitHub, Gitea and GitLab; images are named, not shown."""
    lines = [f"<!-- {report.mark} -->", f"# {escape(report.tag)}", f"> {escape(report.question)}",
             " · ".join(map(_cell, report.summary))]
    for section in report.sections:
        lines.append(f"## {escape(section.title)}")
        for _, group in groupby(section.blocks, lambda block: block.kind == "picture" or block):
            lines.append("\n".join(line for block in group for line in _block(block)))
    lines.append(f"Written by `lab report` in {escape(report.lab)}, {report.written}.")
    return "\n\n".join(filter(None, lines)) + "\n"


def escape(text: str) -> str:
    """Return a text as Markdown that shows just it, on one line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", line)


def _block(block: Block) -> Iterator[str]:
    """Yield the lines of a block."""
    match block:
        case Title(text, level):
            yield f"{'#' * level} {escape(text)}"
        case Note(text):
            yield escape(text)
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            yield f"{fence}text\n{text.rstrip()}\n{fence}"
        case Facts(rows):
            yield from (f"- {escape(name)}: {_cell(cell)}" for name, cell in rows)
        case Picture(name):
            yield f"- {escape(name)} (in the HTML page)"
        case Table(head, rows):
            yield _row(map(escape, head))
            yield _row("---:" if block.is_number(index) else "---" for index in range(len(head)))
            yield from (_row(map(_cell, row)) for row in rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    if not cell.text.strip():
        return ""
    if cell.kind == CODE and not re.search(r"[`|\n<]", cell.text):
        return f"`{cell.text}`"
    return f"**{escape(cell.text)}**" if cell.kind else escape(cell.text)
