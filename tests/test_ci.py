import ast
import re
from pathlib import Path

import pytest

import taglab
from taglab.ci import DRONE, LOGIN, SCRIPT, Build, is_engine_variable, read_build

LIBRARY = Path(taglab.__file__).parent
ENGINES = ("ci.py", "engines/", "runner/")  # what reads an engine's variables, or plays an engine


def engine_variables(source: str) -> list[str]:
    """Return the string literals, docstrings aside, that name variables of an engine."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [node.value for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and id(node) not in docstrings and re.search(r"\b(DRONE|CI)_", node.value)]


def test_a_build_is_read_from_the_variables_of_drone():
    assert read_build({}) == Build()
    assert read_build({
        "DRONE_TAG": "wine-v1", "DRONE_COMMIT_SHA": "abc", "DRONE_COMMIT_REF": "refs/tags/wine-v1",
        "DRONE_BUILD_EVENT": "tag", "DRONE_BUILD_NUMBER": "7", "DRONE_STEP_NAME": "train",
        "DRONE_BUILD_LINK": "http://drone/7", "DRONE_REMOTE_URL": "http://git/lab.git",
        "DRONE_WORKSPACE": "/drone/src", "DRONE_STAGE_NAME": "none of a build's facts",
    }) == Build(tag="wine-v1", commit="abc", ref="refs/tags/wine-v1", event="tag", number="7",
                link="http://drone/7", step="train", remote="http://git/lab.git",
                workspace="/drone/src")


def test_a_build_is_read_from_this_process_by_default(monkeypatch):
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "7")
    assert read_build().number == "7"


def test_an_engine_s_variables_are_known_by_their_names():
    names = [*vars(DRONE).values(), *LOGIN, SCRIPT]
    assert all(map(is_engine_variable, names)) and len({*names}) == len(names)
    assert not is_engine_variable("MLFLOW_TRACKING_URI")


def test_nothing_else_reads_an_engine_s_variables():
    files = {file.relative_to(LIBRARY).as_posix(): file for file in LIBRARY.rglob("*.py")}
    assert {name: found for name, file in files.items() if not name.startswith(ENGINES)
            and (found := engine_variables(file.read_text()))} == {}
    assert engine_variables(files["ci.py"].read_text())


@pytest.mark.parametrize("source, number", [
    ('x = "DRONE_TAG"', 1), ('x = f"echo $CI_TAG {y}"', 1), ('"""Reads DRONE_TAG."""', 0),
    ('x = "DRONE.tag, SPECIFIC_NAME"', 0),
])
def test_literals_that_name_such_variables_are_found(source, number):
    assert len(engine_variables(source)) == number
