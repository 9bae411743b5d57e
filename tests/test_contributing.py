"""What CONTRIBUTING.md names is there."""
from __future__ import annotations

import re

from tests.conftest import TEMPLATE

TEXT = (TEMPLATE / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_path_in_the_map_exists() -> None:
    named = [name for name in re.findall(r"`([^`\n]+)`", TEXT)
             if re.match(r"(src|tests|hooks|platform|\{\{)|.*\.(json|toml|md)$", name)]
    assert len(named) > 40
    missing = [name for name in named if "*" not in name and not (TEMPLATE / name).exists()
               and name != "config.toml"]
    assert not missing


def test_the_map_has_a_file_for_each_of_many_changes() -> None:
    rows = re.findall(r"(?m)^\| (.+?) \| (`.+`) \|$", TEXT.partition("## What to open")[2])
    assert len(rows) >= 20


def test_the_map_names_every_room_of_the_package() -> None:
    rooms = {path.name for path in (TEMPLATE / "src" / "taglab").iterdir()
             if path.is_dir() and path.name != "__pycache__"}
    assert {name for name in rooms if f"`src/taglab/{name}`" in TEXT} == rooms


def test_the_commands_that_it_shows_are_those_of_the_makefile() -> None:
    makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?m)^make ([\w-]+)", TEXT) + ["test-cluster"]:
        assert re.search(rf"(?m)^{target}:", makefile), target
    for file in re.findall(r"pytest (tests/\S+)", TEXT):
        assert (TEMPLATE / file).exists(), file
