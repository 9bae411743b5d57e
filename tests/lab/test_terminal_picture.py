"""The picture of a terminal in the README shows what a push prints."""
from __future__ import annotations

import re
import runpy
from collections import defaultdict
from xml.etree import ElementTree

import pytest

from .conftest import TEMPLATE, BakedLab

PICTURE = TEMPLATE / "docs" / "terminal.svg"
TYPED = "$ git tag run-examples-v1 && git push origin run-examples-v1\n"
SVG = "{http://www.w3.org/2000/svg}"


def drawn() -> list[str]:
    """Return the lines of the picture; blanks are the room between its pieces of text."""
    lines: dict[int, str] = defaultdict(str)
    for text in ElementTree.parse(PICTURE).iter(f"{SVG}text"):
        if line := re.search(r"line-(\d+)\)", text.get("clip-path", "")):
            words = (text.text or "").replace("\xa0", " ")
            width = float(text.get("textLength", 0)) / max(1, len(words))
            column = round(float(text.get("x", 0)) / width) if width else 0
            lines[int(line[1])] = lines[int(line[1])].ljust(column) + words
    return [line.rstrip() for _, line in sorted(lines.items()) if line.strip()]


def without_numbers(lines: list[str]) -> list[str]:
    """Return lines in which every number and every hash is the same."""
    return [" ".join(re.sub(r"\b[0-9a-f]{5,40}\b|\d[\d.]*", "#", line).split()) for line in lines]


def test_the_picture_loads_nothing_and_names_a_font_that_is_there() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[\w./]+", text)) <= {
        "http://www.w3.org/2000/svg", "https://www.textualize.io"}  # its form, and who drew it
    assert "font-face" not in text and text.count("monospace;") == text.count("font-family:")


@pytest.mark.parametrize("lab", [pytest.param("pytorch", marks=pytest.mark.xdist_group("pytorch"))],
                         indirect=True)
def test_the_picture_is_of_a_push_as_it_is_now(lab: BakedLab) -> None:
    terminal = runpy.run_path(str(TEMPLATE / "docs" / "terminal.py"))
    pushed = lab.first_push.replace(".venv/bin/lab ui", "python3 vendor/taglab ui")  # before `init`
    lines = terminal["excerpt"](TYPED + pushed)
    assert len(lines) > 20
    assert without_numbers(drawn()) == without_numbers(lines), "type: make pictures"
