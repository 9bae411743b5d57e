"""A lab holds what its owner edits, and little of it: the rest is in the library."""
from __future__ import annotations

from taglab.cli.new import new_process
from tests.conftest import Bake, files_below

FILES, PYTHON_LINES = 45, 1300  # with the tests, without vendor/taglab
PIPELINE_LINES, LINES_OF_A_PROCESS = 130, 15  # of .drone.yml


def test_a_lab_is_small(bake: Bake) -> None:
    lab = bake(deep_learning="pytorch")
    own = [name for name in files_below(lab) if not name.startswith("vendor/")]
    lines = sum(len((lab / name).read_text(encoding="utf-8").splitlines())
                for name in own if name.endswith(".py"))
    print(f"{len(own)} files, {lines} lines of Python")
    assert len(own) <= FILES and lines <= PYTHON_LINES
    pipelines = len((lab / ".drone.yml").read_text(encoding="utf-8").splitlines())
    new_process(lab, "predict_price")
    with_another = len((lab / ".drone.yml").read_text(encoding="utf-8").splitlines())
    print(f"{pipelines} lines of .drone.yml, {with_another - pipelines} more with a process")
    assert pipelines <= PIPELINE_LINES and with_another - pipelines <= LINES_OF_A_PROCESS
