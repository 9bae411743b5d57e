"""Old and new side by side: a build has the library of its commit and one release of the runner."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taglab.runner.state import FILE, VERSION

from .conftest import GIT_VARIABLES, PIPELINE, SOURCE, WAIT, Lab, wait_for

ANSWER = "import sys\nprint('{release} was asked', *sys.argv[1:])\n"
STEPS = """\
environment: {PYTHONPATH: /drone/src/lab:/drone/src/vendor}
steps:
- name: a
  image: python
  commands: ["python3 -c 'import taglab; print(taglab.__version__, taglab.__file__)'"]
"""


def commit_release(lab: Lab, tag: str, files: dict[str, str]) -> None:
    """Tag a commit that carries a library of its own; the working copy stays as it is."""
    tree = Lab(lab.path.with_name(f"tree-{tag}"))
    lab.git("worktree", "add", "-q", "--detach", str(tree.path))
    basics = {".drone.yml": PIPELINE + STEPS, ".gitignore": ".lab/\n", "requirements.txt": ""}
    for name, text in {**basics, **files}.items():
        tree.write(name, text)
    tree.git("add", "-A")
    tree.git("commit", "-q", "-m", tag)
    tree.git("tag", tag)


def package(release: str) -> dict[str, str]:
    """Return the files of a library that only says which release it is."""
    return {"vendor/taglab/__init__.py": f"__version__ = '{release}'\n",
            "vendor/taglab/tracking/__init__.py": "",
            "vendor/taglab/tracking/__main__.py": ANSWER.format(release=release)}


def test_each_tag_runs_with_the_library_that_it_carries(lab: Lab) -> None:
    commit_release(lab, "exp-old", package("0.1.7"))
    commit_release(lab, "exp-new", package("9.0.0"))
    for number, (tag, release) in enumerate([("exp-old", "0.1.7"), ("exp-new", "9.0.0"),
                                             ("exp-old", "0.1.7")], 1):
        shown = (lab.git("push", "origin", tag) if number < 3
                 else lab.run(sys.executable, "vendor/taglab", "restart", "1").stdout)
        assert f"[a] {release} {lab.path}/.lab/builds/{number}/work/1/src/vendor/taglab" in shown
        assert f"{release} was asked --interface 1 summary --build {number}\n" in shown
        assert not (lab.path / f".lab/builds/{number}/library").exists()


def test_a_commit_of_the_earlier_layout_is_asked_in_its_own_way(lab: Lab) -> None:
    commit_release(lab, "exp-old", {
        "lab/lib/__init__.py": "", "lab/lib/tracking.py": ANSWER.format(release="0.1.0"),
        ".drone.yml": PIPELINE + "steps: [{name: a, image: x, commands: [echo runs]}]\n"})
    shown = lab.git("push", "origin", "exp-old")
    assert "0.1.0 was asked summary --build 1\n" in shown and lab.build().status == "success"


def test_a_commit_without_a_library_runs_without_a_summary(lab: Lab) -> None:
    commit_release(lab, "exp-none", {
        ".drone.yml": PIPELINE + "steps: [{name: a, image: x, commands: [echo runs]}]\n"})
    assert "was asked" not in lab.git("push", "origin", "exp-none")
    assert lab.build().status == "success"


def test_a_build_goes_on_with_the_runner_that_started_it(lab: Lab) -> None:
    library = lab.path / "vendor" / "taglab"
    library.unlink()
    shutil.copytree(SOURCE / "taglab", library)
    commit_release(lab, "exp-1", {**package("0.1.7"), ".drone.yml": PIPELINE + f"""\
steps:
- {{name: waits, image: x, commands: [{WAIT!r}]}}
- {{name: fails, image: x, commands: ["exit 3"]}}
- {{name: cleans, image: x, commands: [echo cleaning], when: {{status: [failure]}}}}
---
{PIPELINE.replace("name: exp", "name: after")}
depends_on: [exp]
steps: [{{name: never, image: x, commands: [echo never]}}]
"""})
    push = subprocess.Popen(["git", "push", "origin", "exp-1"], cwd=lab.path, text=True,
                            env={**os.environ, **GIT_VARIABLES},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(lambda: (build := lab.build()) and build.pipelines[0].steps
             and lab.steps().get("waits") == "running")
    push.kill()  # it imports as it goes; the build must not
    for file in library.rglob("*.py"):
        file.write_text("raise SystemExit('half an update')\n")
    for file in library.rglob("*.toml"):
        file.unlink()
    (lab.path / ".lab" / "state.go").touch()
    wait_for(lambda: lab.build().status == "failure")
    assert lab.steps() == {"clone": "success", "waits": "success", "fails": "failure",
                           "cleans": "success"}
    log = (lab.path / ".lab/builds/1/log").read_text()
    assert "0.1.7 was asked --interface 1 summary --build 1" in log and "half an" not in log


def test_what_a_newer_release_has_written_is_left_alone(lab: Lab) -> None:
    assert (lab.path / FILE).read_text() == f"{VERSION}\n"
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    (lab.path / FILE).write_text(f"{VERSION + 1}\n")
    for shown in (lab.push_tag("exp-1"), lab.lab("builds").stdout):
        assert f".lab has version {VERSION + 1}, and this release of taglab knows" in shown
    assert not (lab.path / ".lab" / "builds").exists()


def test_the_first_command_renews_the_hook_of_an_older_release(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    hook = lab.path / ".lab/origin.git/hooks/post-receive"
    hook.write_text("#!/bin/sh\nexec python3 ../../runtimes/local receive\n")
    (lab.path / FILE).unlink()
    assert "runs" not in lab.push_tag("exp-1")
    assert lab.lab("status").returncode == 0
    assert "[a] runs" in lab.push_tag("exp-2") and (lab.path / FILE).exists()


@pytest.mark.parametrize("layout", ["vendor/taglab", "runtimes/local"])
def test_the_hook_finds_the_runner_of_either_layout(
        make_lab: Callable[[], Lab], layout: str, tmp_path: Path) -> None:
    lab = make_lab()
    (lab.path / "vendor" / "taglab").unlink()
    lab.write(f"{layout}/__main__.py", "import sys\nprint('ran', sys.argv[1:])\n")
    assert "ran ['receive']" in lab.push_tag("any-1")
    shutil.rmtree(lab.path / layout)
    assert "git checkout HEAD -- vendor" in lab.push_tag("any-2")
