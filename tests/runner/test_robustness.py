"""Builds survive accidents: killed runners, damaged records, full disks, simultaneous pushes."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import PIPELINE, SOURCE, WAIT, Lab, wait_for
from .test_process import is_alive

ECHO = "steps: [{name: a, image: x, commands: [echo $DRONE_TAG.]}]\n"
TRACKING = """\
import os, sys
from pathlib import Path
Path(os.environ["LAB_STATE"]).parent.joinpath("called").write_text(" ".join(sys.argv[1:]))
"""


def kill_runner(lab: Lab, number: int = 1) -> None:
    """Kill the process that runs a build."""
    os.kill(int((lab.path / f".lab/builds/{number}/held").read_text()), signal.SIGKILL)


def folder(lab: Lab, number: int) -> Path:
    """Return the folder of a build."""
    return lab.path / ".lab" / "builds" / str(number)


def test_a_build_is_recorded_before_its_first_step(lab: Lab) -> None:
    lab.pipeline("""\
        steps: [{name: a, image: x, commands: ["cat ../../../build.json", "cat ../../../held"]}]
        """, PIPELINE + "clone: {disable: true}\n")
    shown = lab.push_tag("exp-1")
    assert '[a] {"number": 1, ' in shown and '"status": "running"' in shown


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_runner_leaves_an_interrupted_build_and_no_process(lab: Lab) -> None:
    lab.write("requirements.txt", "")
    lab.write("lab/lib/__init__.py", "")
    lab.write("lab/lib/tracking.py", TRACKING)
    two = PIPELINE.replace("exp\n", "two\n")
    head = f"{PIPELINE}steps: []\n---\n{two}depends_on: [exp]\n"
    lab.pipeline("""\
        steps:
        - name: a
          image: x
          commands: ["setsid sh -c 'echo $$$$ > $LAB_STATE.pid; sleep 99' &", sleep 99]
        - {name: b, image: x, commands: [echo never]}
        """, head)
    lab.git("tag", "exp-1")
    with (lab.path.parent / "shown").open("w+") as shown:
        process = lab.start_push("-q", "origin", "exp-1", shown=shown)
        wait_for(lambda: (lab.path / ".lab/state.pid").exists())
        kill_runner(lab)
        process.wait(60)
        assert "remote: error: interrupted" in (shown.seek(0), shown.read())[1]
    build = lab.build()
    assert (build.status, build.error) == ("error", "interrupted") and build.finished
    assert [(each.status, each.error) for each in build.pipelines] == [
        ("success", ""), ("error", "interrupted")]
    assert [(step.name, step.status) for step in build.pipelines[1].steps] == [
        ("clone", "success"), ("a", "error"), ("b", "skipped")]
    assert '"running"' not in (folder(lab, 1) / "build.json").read_text()
    assert not (folder(lab, 1) / "work").exists()
    assert not is_alive(lab.path / ".lab/state.pid")
    assert (lab.path / ".lab/called").read_text() == "kill --build 1"
    assert lab.lab("logs", "1").stdout.endswith("error: interrupted\n")
    assert "[a] exp-2." in _push_echo(lab, "exp-2")


def _push_echo(lab: Lab, tag: str) -> str:
    lab.pipeline(ECHO)
    return lab.push_tag(tag)


def test_a_build_that_never_started_is_interrupted(lab: Lab) -> None:
    from taglab.runner.builds import Builds
    lab.pipeline(ECHO)
    lab.push_tag("exp-1")
    create = (f"import sys; sys.path.insert(0, {str(SOURCE)!r})\nfrom pathlib import Path\n"
              "from taglab.runner.builds import Builds\nbuilds = Builds(Path(sys.argv[1]))\n"
              "created = builds.create(builds.load(1).commit, ['exp'], 1e9)\n"
              "print(builds.load(2).status)\n")
    assert lab.run(sys.executable, "-c", create, str(lab.path)).stdout == "pending\n"
    assert (lab.build(2).status, lab.build(2).error) == ("error", "interrupted")
    assert "error: interrupted" in lab.lab("builds").stdout.splitlines()[1]
    assert lab.build(2).pipelines[0].status == "skipped"
    assert Builds(lab.path).recorded(2).status == "error"


DAMAGES = {
    "an empty record": lambda path: (path / "build.json").write_text(""),
    "half a record": lambda path: (path / "build.json").write_text('{"number": 1, "comm'),
    "garbage": lambda path: (path / "build.json").write_bytes(os.urandom(500)),
    "zeros": lambda path: (path / "build.json").write_bytes(b"\0" * 500),
    "another record": lambda path: (path / "build.json").write_text('{"pipelines": [], "x": 1}'),
    "a list": lambda path: (path / "build.json").write_text("[1]"),
    "no record": lambda path: (path / "build.json").unlink(),
    "an empty folder": lambda path: [shutil.rmtree(path), path.mkdir()],
    "half a new record": lambda path: (path / "build.new").write_text("{"),
    "no log": lambda path: (path / "log").unlink(),
    "a holder that is gone": lambda path: (path / "held").write_text("1\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_hides_no_build_and_blocks_none(lab: Lab, damage: str) -> None:
    lab.pipeline(ECHO)
    lab.push_tag("exp-1")
    DAMAGES[damage](folder(lab, 1))
    listed = lab.lab("builds").stdout.splitlines()
    assert listed[1].startswith("1 ")
    lost = damage not in ("half a new record", "no log", "a holder that is gone")
    assert ("error: its record is damaged" if lost else "success") in listed[1]
    assert "[a] exp-2." in lab.push_tag("exp-2") and lab.build(2).status == "success"
    logs = lab.lab("logs", "1")
    assert "Traceback" not in logs.stdout
    for command in (["status"], ["builds", "--json"], ["cancel", "1"]):
        assert "Traceback" not in lab.lab(*command).stdout


def test_the_folder_of_a_build_that_was_not_yet_recorded_is_ignored(lab: Lab) -> None:
    lab.pipeline(ECHO)
    (lab.path / ".lab/builds/new-0123").mkdir(parents=True)
    assert "[a] exp-1." in lab.push_tag("exp-1") and lab.build(1).status == "success"


@pytest.fixture
def small_disk(lab: Lab):
    """Put `.lab` of a lab on a disk of its own that holds 3 MB."""
    state, aside = lab.path / ".lab", lab.path / "aside"
    state.rename(aside)
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", state],
                      capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    shutil.copytree(aside, state, dirs_exist_ok=True)
    shutil.rmtree(aside)
    yield state
    subprocess.run(["umount", "--lazy", state], check=True)


FILL = "dd if=/dev/zero of={} bs=4k 2> /dev/null || echo full"


def test_a_full_disk_in_one_build_does_not_harm_the_next(lab: Lab, small_disk: Path) -> None:
    lab.pipeline(f"steps: [{{name: a, image: x, commands: ['{FILL.format('big')}; exit 3', "
                 "echo never]}]\n")
    lab.push_tag("exp-1")
    assert lab.build().status == "failure" and lab.steps()["a"] == "failure"
    assert lab.build().pipelines[0].steps[1].exit_code == 3
    assert "[a] exp-2." in _push_echo(lab, "exp-2")  # the workspace is gone, and the file with it


def test_a_full_disk_is_reported_until_there_is_room_again(lab: Lab, small_disk: Path) -> None:
    full = FILL.format(small_disk / "big")
    lab.pipeline(f"steps: [{{name: a, image: x, commands: ['{full}', yes | head -c 9999999]}}]\n")
    shown = lab.push_tag("exp-1")
    assert lab.build().status == "error" and lab.build().error == (
        "the log could not be written: the disk is full (No space left on device)")
    assert "error: the log could not be written: the disk is full" in shown
    lab.pipeline(ECHO)
    lab.git("tag", "exp-2")
    lab.git("push", "origin", "main")
    lab.run("sh", "-c", full)
    assert lab.build().error[:20] in lab.lab("builds").stdout
    refused = lab.run("git", "push", "origin", "exp-2")
    assert refused.returncode == 1 or "no build could be recorded" in refused.stdout
    again = lab.lab("restart", "1")
    assert again.returncode == 1 and "recorded: the disk is full (No space left" in again.stdout
    assert lab.build(2) is None and not list((small_disk / "builds").glob("new-*"))
    (small_disk / "big").unlink()
    assert "[a] exp-2." in lab.push_tag("exp-2") and lab.build(2).status == "success"


def test_a_build_with_an_incomplete_log_is_not_a_success(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [yes | head -c 900000, echo x > done]},"
                 "{name: b, image: x, commands: [test -e done]}]\n")
    lab.git("tag", "exp-1")
    lab.run("bash", "-c", "ulimit -f 500; git push origin exp-1")
    assert lab.steps() == {"clone": "success", "a": "success", "b": "success"}
    assert lab.build().status == "error"
    assert lab.build().error == "the log could not be written: File too large"


def test_simultaneous_pushes_make_separate_builds(lab: Lab, tmp_path: Path) -> None:
    lab.pipeline(ECHO)
    lab.git("push", "origin", "main")
    clones = [Lab(tmp_path / f"clone-{number}") for number in range(4)]
    for number, each in enumerate(clones):
        lab.git("clone", "-q", str(lab.path / ".lab/origin.git"), str(each.path))
        each.git("commit", "-q", "--allow-empty", "-m", f"Commit {number}")
        each.git("tag", f"exp-{number}")
    pushes = [each.start_push("origin", f"exp-{number}") for number, each in enumerate(clones)]
    assert [process.wait(60) for process in pushes] == [0, 0, 0, 0]
    builds = {lab.build(number).name: lab.build(number) for number in (1, 2, 3, 4)}
    for number, each in enumerate(clones):
        build = builds[f"exp-{number}"]
        assert (build.status, build.commit.sha) == ("success", each.git("rev-parse", "HEAD"))


def test_a_tag_moved_while_its_build_runs_makes_a_second_build(lab: Lab) -> None:
    slow = f"steps: [{{name: a, image: x, commands: ['{WAIT}', git log -1]}}]\n"
    lab.pipeline(slow)
    lab.git("tag", "exp-1")
    first, commit = lab.start_push("origin", "exp-1"), lab.git("rev-parse", "HEAD")
    wait_for(lambda: lab.build() and lab.build().status == "running")
    lab.pipeline(slow + "# again\n")
    lab.git("tag", "-f", "exp-1")
    second = lab.start_push("-f", "origin", "refs/tags/exp-1")
    wait_for(lambda: lab.build(2) and lab.build(2).status == "running")
    (lab.path / ".lab/state.go").touch()
    first.wait(60)
    second.wait(60)
    for number, sha in ((1, commit), (2, lab.git("rev-parse", "HEAD"))):
        assert (lab.build(number).status, lab.build(number).commit.sha) == ("success", sha)
        assert f"[a] commit {sha}" in (folder(lab, number) / "log").read_text()


def test_a_submodule_is_not_fetched(lab: Lab, make_lab) -> None:
    other = make_lab("other")
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path),
            "part")
    lab.pipeline("steps: [{name: a, image: x, commands: "
                 "['ls -A part | wc -l', cat .gitmodules]}]\n")
    shown = lab.push_tag("exp-1")
    assert "[a] 0" in shown and "path = part" in shown and lab.build().status == "success"


def test_the_workspace_does_not_copy_the_objects_of_large_files(lab: Lab) -> None:
    with (lab.path / "big.bin").open("wb") as file:
        for _ in range(200):
            file.write(os.urandom(1 << 20))
    lab.pipeline("steps: [{name: a, image: x, commands: [wc -c big.bin, du -sm .git]}]\n")
    lab.push_tag("exp-1")
    log = (folder(lab, 1) / "log").read_text()
    assert f"[a] {200 << 20} big.bin" in log
    size = next(line for line in log.splitlines() if line.endswith("\t.git"))
    assert int(size.removeprefix("[a] ").split()[0]) <= 2
    clone = lab.build().pipelines[0].steps[0]
    assert clone.finished - clone.started < 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_that_escapes_its_step_ends_with_the_build(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - name: a
          image: x
          commands: ["env -i setsid sh -c 'echo $$$$ > $0; sleep 99' $LAB_STATE.pid > /dev/null &",
                     "until test -s $LAB_STATE.pid; do sleep 0.1; done"]
        """)
    lab.push_tag("exp-1")
    assert lab.build().status == "success"
    wait_for(lambda: not is_alive(lab.path / ".lab/state.pid"), 5)


def test_a_push_that_is_killed_leaves_the_build_running(lab: Lab) -> None:
    lab.pipeline(f"steps: [{{name: a, image: x, commands: ['{WAIT}', echo done]}}]\n")
    lab.git("tag", "exp-1")
    process = lab.start_push("origin", "exp-1")
    wait_for(lambda: lab.build() and lab.build().status == "running")
    process.kill()
    (lab.path / ".lab/state.go").touch()
    wait_for(lambda: lab.build().status == "success")
    started = time.monotonic()
    assert "[a] done" in lab.lab("logs", "1", "--follow").stdout
    assert time.monotonic() - started < 20
