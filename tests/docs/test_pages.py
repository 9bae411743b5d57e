"""Every command of the tutorial and of the how-to pages, typed in the order of the site.

A comment before a block says what is special: `not run: why`, `fails: why`, or `replaces: LINE`,
the line of a file that the block takes the place of.
"""
from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE
from tests.lab.conftest import BakedLab

BLOCK = re.compile(
    r'(?:<!-- (not run|fails|replaces): (.+?) -->\n)?```(\w+)(?: title="([^"]+)")?\n(.*?)^```$',
    re.DOTALL | re.MULTILINE)
INSTALL = "pip install cookiecutter\n"


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `title` names a file, with `(part)` or `(added)` behind it."""

    special: str
    words: str  # of the comment
    language: str
    title: str
    text: str


def pages() -> list[Path]:
    """Return the tutorial and the how-to pages, in the order of the site."""
    names = re.findall(r"(?m)^ *- (?:Tutorial: )?((?:how-to/[\w-]+|tutorial)\.md)$",
                       (TEMPLATE / "mkdocs.yml").read_text(encoding="utf-8"))
    return [TEMPLATE / "docs" / name for name in names]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that are to be typed or written."""
    found = [Block(*map(str, match.groups(""))) for match in
             BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [block for block in found if block.special != "not run" and (
        block.language in ("sh", "python") or block.title)]


@dataclass
class Reader:
    """Somebody who follows the pages; `folder` is where their terminal is."""

    folder: Path
    before: Path

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        file, _, change = block.title.partition(" (")
        if file and not change:
            (self.folder / file).write_text(block.text, encoding="utf-8")
        elif file:
            self._change(self.folder / file, block)
        elif block.language == "python":
            self._type(f"python - <<'END'\n{block.text}END\n", fails=False)
        else:
            self._type(block.text, fails=block.special == "fails")

    def _change(self, file: Path, block: Block) -> None:
        old = file.read_text(encoding="utf-8")
        if block.title.endswith("(added)"):
            file.write_text(old + block.text, encoding="utf-8")
        else:
            assert old.count(f"{block.words}\n") == 1, block
            file.write_text(old.replace(f"{block.words}\n", block.text), encoding="utf-8")

    def _type(self, commands: str, fails: bool) -> None:
        if INSTALL in commands:  # it is installed
            commands = commands.replace(INSTALL, "").replace(
                "PATH-OR-URL-OF-THE-TEMPLATE", str(TEMPLATE))
        end = self.folder.parent / "end"
        done = BakedLab(self.folder).sh(
            f"set -e\ntrap 'printf \"%s\\n\" \"$PWD\" \"$OLDPWD\" > {end}' EXIT\n{commands}",
            PATH=f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}",
            OLDPWD=str(self.before), LAB_DATA=str(self.folder.parent / "data"))
        assert bool(done.returncode) == fails, f"{commands}\n{done.stdout}"
        self.folder, self.before = map(Path, end.read_text().splitlines())


@pytest.mark.xdist_group("pages")
def test_every_command_of_the_tutorial_and_the_how_to_pages_works(tmp_path: Path) -> None:
    reader = Reader(tmp_path, tmp_path)
    for page in pages():
        assert reader.folder == tmp_path or reader.folder == tmp_path / "first-lab", page
        for block in blocks(page):
            try:
                reader.follow(block)
            except AssertionError as error:
                raise AssertionError(f"{page.name}: {error}") from error
    lab = BakedLab(reader.folder)
    by_tag = {run["tags"].get("tag"): run for run in lab.runs(process="diabetes")
              if not run["parent"]}
    assert by_tag["diabetes-v1"]["params"]["search.best.alpha"] == "1.0"
    assert by_tag["diabetes-v2"]["params"]["search.best.alpha"] == "0.1"
    shown = (TEMPLATE / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for tag in ("diabetes-v1", "diabetes-v2"):
        assert f"test_error {by_tag[tag]['metrics']['test_error']:.2f}\n" in shown
    [measured] = [run for run in lab.runs(process="load") if run["tags"]["tag"] == "load-v1"]
    assert re.fullmatch("[0-9a-f]{64}", measured["tags"]["data.measurements.csv"])
    assert "received measurements.csv" in (
        reader.folder.parent / "data-clone/.lab/builds/1/log").read_text(encoding="utf-8")
    assert {lab.build(number)["status"] for number in range(1, 10)} == {"success"}


def test_every_how_to_page_is_followed_and_no_block_is_overlooked() -> None:
    names = {page.name for page in pages()}
    assert names == {"tutorial.md", *(file.name for file in (TEMPLATE / "docs/how-to").iterdir())}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"(?m)^```(\w+)", text)
        assert len(list(BLOCK.finditer(text))) == len(fences), page
