"""Draws docs/terminal.svg from what a push prints: `make pictures` pipes `make demo` into it.

Lines are left out, which "…" marks; no line is changed but for git's padding.
"""
from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

FILE = Path(__file__).with_name("terminal.svg")
WIDTH = 96  # characters
SHOWN = 2   # of lines that are alike, such as the trials of a search
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
# What a line must look like to be shown; lines of one group that follow each other are alike.
GROUPS = {
    "typed": r"\$ git tag ",
    "build": r"remote: build \d+ · ",
    "command": r"remote: \[[\w-]+\] \+ python lab/",
    "model": r"remote: \[sklearn-example\] \w+ +validation_accuracy ",
    "epoch": r"remote: \[pytorch-example\] epoch ",
    "trial": r"remote: \[svm-search\] trial ",
    "best": r"remote: \[[\w-]+\] (?:best: |test_accuracy )",
    "goal": r"remote: \[goals\] (?=met)",
    "head": r"remote: run +status ",
    "run": r"remote: \w+ +FINISHED ",
    "nested": r"remote:   (?:\w+|\d+ gamma=\S+ C=\S+) +FINISHED ",
    "end": r"remote: To see the results",
}


def excerpt(printed: str) -> list[str]:
    """Return the lines to show of what `make demo` printed, with "…" where lines are left out."""
    shown: list[str] = []
    alike, before = 0, ""
    for line in map(str.rstrip, printed[printed.index("$ git tag "):].splitlines()):
        group = next((name for name, looks in GROUPS.items() if re.match(looks, line)), "")
        alike = alike + 1 if group == before else 1
        before = group
        if group and alike <= SHOWN:
            shown.append(line if len(line) <= WIDTH else f"{line[:WIDTH - 1]}…")
        elif shown[-1] != "…":
            shown.append("…")
    return shown if shown[-1] != "…" else shown[:-1]


def draw(lines: list[str]) -> str:
    """Return an SVG of a terminal that shows the lines; it loads nothing."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    for line in lines:
        text = Text(line, no_wrap=True)
        text.highlight_regex(r"^remote:|^…$", "dim")
        text.highlight_regex(r"^\$ .*", "bold")
        text.highlight_regex(r"\[[\w-]+\]", "cyan")
        text.highlight_regex(r"FINISHED|\bmet\b|\bbest\b", "green")
        console.print(text, soft_wrap=True)
    svg = console.export_svg(title="git push", theme=DIMMED_MONOKAI, unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: (?:Fira Code, monospace|arial)", f"font-family: {FONT}", svg)
    return "\n".join(filter(None, map(str.rstrip, svg.splitlines()))) + "\n"


def main() -> None:
    """Draw what stdin holds, unless the build did not succeed."""
    printed = sys.stdin.read()
    if not re.search(r"(?m)^remote: build \d+ +success ", printed):
        sys.exit(f"{printed}\nNothing was drawn: these lines do not show a build that succeeded.")
    FILE.write_text(draw(excerpt(printed)), encoding="utf-8")


if __name__ == "__main__":
    main()
