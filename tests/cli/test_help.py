"""What `lab` says of its commands: their groups, their examples, and what to type instead."""
from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglab.cli.commands import COMMANDS, GROUPS, SYNONYMS, help_text, nearest_command
from taglab.cli.main import commands
from tests.runner.conftest import SOURCE, Lab

ENDLESS = {"ui", "notebook", "tensorboard"}  # they run until Ctrl-C, so there is nothing to print
CONTEXT = click.Context(commands, info_name="lab")


def test_help_lists_every_command_once_in_its_group(lab: Lab) -> None:
    shown = lab.lab("--help").stdout
    groups = {block.partition(":")[0]: [line.split()[0] for line in block.splitlines()[1:]]
              for block in shown.strip().split("\n\n")[2:]}
    assert list(groups) == ["Options", "Run", "See", "Change", "Share"]
    del groups["Options"]
    assert groups == {title: list(group) for title, group in GROUPS.items()}
    assert shown.count("...") == 1  # in the usage line: no description is cut off
    assert max(map(len, shown.splitlines())) <= 80
    assert lab.lab("-h").stdout == lab.lab().stdout == shown
    assert lab.lab().returncode == 3


def test_every_command_that_is_defined_stands_in_a_group() -> None:
    files = (SOURCE / "taglab" / "cli").glob("*.py")
    modules = [import_module(f"taglab.cli.{file.stem}") for file in files]
    found = [each for module in modules for each in vars(module).values()
             if isinstance(each, click.Command) and each is not commands]
    inner = [each for group in found if isinstance(group, click.Group)
             for each in group.commands.values()]
    defined = {each.name for each in found if each not in inner}
    assert defined == set(COMMANDS) and len(COMMANDS) == sum(map(len, GROUPS.values()))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_own_help_says_the_same_and_ends_with_examples_that_are_right(
        name: str) -> None:
    command = commands.get_command(CONTEXT, name)
    assert command is not None and command.name == name
    assert re.search(rf"(?m)^  {name} +{re.escape(command.get_short_help_str(limit=99))}$",
                     help_text())
    examples = COMMANDS[name].example.splitlines()
    own = command.get_help(click.Context(command, info_name=name, parent=CONTEXT))
    assert own.endswith(f"\n  Example: {examples[0]}" if len(examples) == 1 else
                        "\n  Examples:" + "".join(f"\n    {each}" for each in examples))
    for example in examples:
        program, typed, *arguments = shlex.split(example)
        assert (program, typed) == ("lab", name)
        command.make_context(name, arguments, parent=CONTEXT)  # or it raises UsageError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_ends_prints_json_where_it_is_asked(name: str) -> None:
    command = commands.get_command(CONTEXT, name)
    assert command is not None
    for each in command.commands.values() if isinstance(command, click.Group) else [command]:
        offered = [option.name for option in each.params if "--json" in option.opts]
        assert offered == ([] if name in ENDLESS else ["as_json"]), each.name


def test_help_needs_no_package_at_all(lab: Lab, tmp_path: Path) -> None:
    shown = lab.run(sys.executable, "-S", "-B", "vendor/taglab", "--help",  # without site-packages
                    XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (shown.returncode, shown.stdout) == (0, help_text() + "\n")
    assert not (tmp_path / "cache").exists(), "an environment was made"


@pytest.mark.parametrize(("typed", "meant"), [
    ("run", "launch"), ("list", "builds"), ("ls", "builds"), ("stop", "cancel"), ("log", "logs"),
    ("results", "runs"), ("lunch", "launch"), ("Status", "status"), ("jupyter", "notebook"),
    ("env", "envs"), ("build", "builds"), ("restrat", "restart")])
def test_a_near_word_suggests_the_command_that_is_meant(typed: str, meant: str) -> None:
    assert nearest_command(typed) == meant


def test_what_is_suggested_is_printed_as_wrong_usage(lab: Lab) -> None:
    done = lab.lab("run", "svm-search")
    assert (done.returncode, done.stdout) == (
        3, "Error: lab has no command `run`; did you mean `lab launch`?\n")
    assert "No such option" in lab.lab("--nonsense").stdout


def test_a_synonym_is_no_command_and_means_one() -> None:
    assert not SYNONYMS.keys() & COMMANDS.keys() and set(SYNONYMS.values()) <= COMMANDS.keys()


@settings(max_examples=30)
@given(st.text(max_size=20))
def test_any_word_gets_a_command_or_none(word: str) -> None:
    assert nearest_command(word) in {None, *COMMANDS}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["status"]])
def test_outside_of_a_lab_every_command_says_what_a_lab_is(arguments: list[str],
                                                           tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "LAB_ROOT"}
    done = subprocess.run([sys.executable, SOURCE / "taglab", *arguments], cwd=tmp_path, text=True,
                          env=clean, capture_output=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path} is not a lab. A lab is a folder ")
    for typed in ("vendor/taglab", "cd", "LAB_ROOT=", "cookiecutter "):
        assert typed in done.stderr
    assert len(done.stderr.splitlines()) == 1
