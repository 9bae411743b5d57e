"""The site is built without a warning, and what it says of the code is so."""
from __future__ import annotations

import dataclasses
import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

from taglab.cli.main import commands
from taglab.cli.old_imports import MODULES
from taglab.cluster.manifest import WideJob
from taglab.engines.drone.globs import glob_match
from taglab.engines.drone.lint import RULES
from taglab.engines.drone.rejections import unsupported_here
from taglab.engines.drone.schema import read_documents, runner_schema
from taglab.engines.drone.substitution import substitute
from taglab.goals.judge import KEYS
from taglab.runner.state import VERSION
from tests.conftest import TEMPLATE

DOCS = TEMPLATE / "docs"
REFUSED = {  # a pipeline or a step that this machine refuses, by the field that it refuses
    "platform.os": "platform: {os: windows}",
    "volumes": "volumes: [{name: a, temp: {}}]",
    "host_aliases": "host_aliases: [{ip: 1.2.3.4, hostnames: [a]}]",
    "workspace.path": "workspace: {path: src}",
    "privileged": "steps: [{name: a, image: a, commands: [a], privileged: true}]",
    "entrypoint": "steps: [{name: a, image: a, commands: [a], entrypoint: [a]}]",
    "command": "steps: [{name: a, image: a, commands: [a], command: [a]}]",
    "user": "steps: [{name: a, image: a, commands: [a], user: 0}]",
    "group": "steps: [{name: a, image: a, commands: [a], group: 0}]",
    "working_dir": "steps: [{name: a, image: a, commands: [a], working_dir: /tmp}]",
    "commands": "steps: [{name: a, image: a}]",
}


class Loaded(HTMLParser):
    """What a browser loads for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a script, a style sheet, an image or a font."""
        if tag != "a":
            self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, which is built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=TEMPLATE, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout
    return folder


def page(name: str) -> str:
    """Return the text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head and backticks."""
    below = text.partition(f"{heading}\n")[2]
    table = re.search(r"(?m)^\| .*\n\| ---.*\n((?:\|.*\n?)+)", below)
    assert table, heading
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
            for line in table[1].splitlines()]


def test_the_site_is_built_and_loads_nothing_from_other_servers(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for file in pages:
        loaded = Loaded()
        loaded.feed(file.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert not [address for address in loaded.addresses if "//" in address], file


def test_the_reference_has_every_command_rule_key_and_public_name(site: Path) -> None:
    def ids(name: str) -> set[str]:
        return set(re.findall(r'id="([^"]+)"', (site / "reference" / name).read_text()))

    names = commands.list_commands(click.Context(commands))
    assert {f"lab-{name}" for name in names} <= ids("lab.html") and len(names) > 15
    drone, config = ((site / "reference" / name).read_text() for name in (
        "drone.html", "config.html"))
    assert not [rule.__name__ for rule in RULES if f"<code>{rule.__name__}</code>" not in drone]
    assert not [each.name for each in dataclasses.fields(WideJob)
                if f"<td><code>{each.name}</code></td>" not in config]
    for module, public in promised_names().items():
        shown = ids(f"python/{module.removeprefix('taglab.')}.html")
        assert {f"{module}.{name}" for name in public} <= shown, module


def promised_names() -> dict[str, set[str]]:
    """Return the names that the page on compatibility lists, by module."""
    text = re.search(r"## Names in Python\n\n```text\n(.*?)```",
                     page("reference/compatibility.md"), re.DOTALL)
    assert text
    lines = re.sub(r"\n +", " ", text[1]).splitlines()
    return {line.split()[0]: set(line.split()[1:]) for line in lines}


def test_the_public_names_are_those_that_are_promised() -> None:
    promised = promised_names()
    for name, names in promised.items():
        module = importlib.import_module(name)
        defined = [each for each, value in vars(module).items() if not each.startswith("_")
                   and getattr(value, "__module__", "") == name]
        if name == "taglab.testing":  # pytest's fixtures are objects of its own
            defined += [each for each, value in vars(module).items()
                        if type(value).__name__ == "FixtureFunctionDefinition"]
        assert names == set(getattr(module, "__all__", defined)), name
        assert all(hasattr(module, each) for each in names)
    packages = {f"taglab.{file.parent.name}" for file in (TEMPLATE / "src/taglab").glob("*/*.py")
                if file.name == "__init__.py" and "__all__" in file.read_text()}
    assert packages - promised.keys() == {"taglab.cluster", "taglab.results"}


def test_the_page_on_compatibility_names_the_versions() -> None:
    assert f"Version now: <!-- state version -->{VERSION}." in page("reference/compatibility.md")
    library = (TEMPLATE / "src/taglab/runner/library.py").read_text()
    assert 'INTERFACE = "1"' in library and "--interface 1 summary" in page(
        "reference/compatibility.md")


def test_the_changelog_has_the_new_place_of_every_old_import() -> None:
    changelog = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    assert dict(rows(changelog, "### What to import instead")) == MODULES


def test_the_keys_of_a_goal_are_those_that_are_known() -> None:
    assert [row[0] for row in rows(page("reference/goals.md"), "```\n")] == list(KEYS)


def test_patterns_match_as_the_reference_says() -> None:
    table = rows(page("reference/drone.md"), "`*` does not cross `/`:")
    assert len(table) > 6
    for pattern, text, matches in table:
        assert glob_match(pattern, text) is (matches == "yes"), pattern


def test_variables_become_what_the_reference_says() -> None:
    table = rows(page("reference/drone.md"), "## `${…}`")
    assert len(table) > 4
    for written, read in table:
        assert substitute(written, {"DRONE_TAG": "svm-search-v1"}) == read


def test_this_machine_refuses_the_fields_that_the_reference_names() -> None:
    table = rows(page("reference/drone.md"), "## What this machine refuses")
    assert [field for field, _ in table] == list(REFUSED)
    for field, _ in table:
        [pipeline] = read_documents(
            f"kind: pipeline\ntype: kubernetes\nname: a\n{REFUSED[field]}\n", runner_schema)
        messages = [message for _, message in unsupported_here(pipeline)]
        assert len(messages) == 1 and f"`{field}`" in messages[0], field


def test_every_decision_says_what_would_change_our_mind() -> None:
    records = sorted((DOCS / "decisions").glob("0*.md"))
    assert len(records) >= 9
    for file in records:
        text = file.read_text(encoding="utf-8")
        headings = re.findall(r"(?m)^## (.+)$", text)
        assert headings == ["Context", "Decision", "What it costs", "What would change our mind"]
        assert re.match(r"# \d+\. .+, not |# \d+\. uv, and pip .+, not ", text), file
