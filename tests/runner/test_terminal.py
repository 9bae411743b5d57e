"""What a push says of a build that goes on without the terminal, and of what is not committed."""
from __future__ import annotations

import os
import pty
import select
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglab.runner.terminal import going_on
from taglab.runner.uncommitted import read_status

from .conftest import GIT_VARIABLES, WAIT, Lab, wait_for

WAITS = f"steps: [{{name: a, image: x, commands: [echo started, '{WAIT}', echo done]}}]\n"
ECHO = "steps: [{name: a, image: x, commands: [echo $DRONE_TAG.]}]\n"


# A shell that outlives Ctrl-C in its command, as one that a person types into, until a key.
SHELL = ("sh", "-c", 'trap : INT; "$@"; echo "status $?"; read key', "sh")


def interrupted_in_a_terminal(lab: Lab, *command: str, at: str, until: list[str]) -> str:
    """Run a command in a terminal of its own and press Ctrl-C once it has printed a text.

    Returns what the terminal showed from then until it has shown all of `until`.
    """
    shell, terminal = pty.fork()
    if shell == 0:
        os.chdir(lab.path)
        os.execvpe(SHELL[0], [*SHELL, *command], {**os.environ, **GIT_VARIABLES})
    shown = ""
    while not ("^C" in shown and all(text in shown.partition("^C")[2] for text in until)):
        assert select.select([terminal], [], [], 60)[0], f"nothing more came: {shown}"
        before, shown = shown, shown + os.read(terminal, 65536).decode().replace("\r\n", "\n")
        if at in shown and at not in before:
            os.write(terminal, b"\x03")
    os.close(terminal)  # ends the shell
    os.waitpid(shell, 0)
    return shown.partition("^C")[2]


@pytest.mark.parametrize("command", [
    ("git", "push", "origin", "exp-2"),
    (sys.executable, "vendor/taglab", "logs", "1", "--follow"),
    (sys.executable, "vendor/taglab", "restart", "1"),
    (sys.executable, "vendor/taglab", "launch", "exp")])
def test_ctrl_c_says_that_the_build_goes_on_and_how_to_stop_it(
        lab: Lab, command: tuple[str, ...]) -> None:
    lab.pipeline(WAITS)
    lab.git("tag", "exp-1")
    lab.git("tag", "exp-2")
    number = 1 if "logs" in command else 2
    push = lab.start_push("-q", "origin", "exp-1")
    wait_for(lambda: lab.build() and lab.steps().get("a") == "running")
    sentence = f"\n{going_on([number])}\n"
    after = interrupted_in_a_terminal(lab, *command, at="] started", until=["status 130", sentence])
    assert after.count("go") == sentence.count("go") and "Traceback" not in after
    (lab.path / ".lab/state.go").touch()
    assert push.wait(60) == 0
    wait_for(lambda: lab.build(number).status == "success")


def test_a_push_says_at_once_how_to_follow_and_stop_its_builds(lab: Lab) -> None:
    lab.pipeline(ECHO)
    lab.git("tag", "exp-1")
    lab.git("tag", "exp-2")
    shown = lab.git("push", "origin", "exp-1", "exp-2")
    assert "builds 1 and 2 go on without this terminal. To follow it: lab logs 1" in shown
    assert shown.index("builds 1 and 2") < shown.index("build 1 · exp-1")


def test_ctrl_c_before_a_build_has_started_loses_no_push(lab: Lab) -> None:
    lab.pipeline(ECHO)
    commit = lab.git("rev-parse", "HEAD")
    program = (lab.path / "vendor/taglab/__main__.py").resolve().parents[1]
    starts = (f"import sys; sys.path.insert(0, {str(program)!r})\nimport os, signal\n"
              "from pathlib import Path\nfrom taglab.runner.receive import receive\n"
              "def lines():\n"
              "    for signum in (signal.SIGINT, signal.SIGHUP):\n"
              "        os.kill(os.getpid(), signum)\n"
              f"    yield '{'0' * 40} {commit} refs/tags/exp-1'\n"
              "sys.exit(receive(Path.cwd(), lines()))\n")
    lab.git("push", "-q", "origin", "main")
    assert "[a] exp-1." in lab.run(sys.executable, "-c", starts).stdout
    assert lab.build().status == "success"


def test_steps_of_a_push_can_be_interrupted(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: ['grep SigIgn /proc/self/status']}]\n")
    ignored = lab.push_tag("exp-1").partition("SigIgn:")[2].split()[0]
    assert int(ignored, 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGHUP - 1) == 0


def test_a_push_says_what_is_not_committed(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[status]\nshowUntrackedFiles = no\nshort = true\n"
                                     "branch = true\nrelativePaths = false\n")
    settings = {"GIT_CONFIG_GLOBAL": str(tmp_path / "config")}
    lab.write("data.csv", "1")
    lab.write("old name", "1\n2\n3\n")
    lab.pipeline(ECHO)
    assert "note:" not in lab.push_tag("exp-1", **settings)
    lab.write("data.csv", "2")
    lab.write("new\nfile", "")
    lab.write("new/one", "")
    lab.write("new/two", "")
    lab.write("__pycache__/ignored", "")
    lab.git("mv", "old name", "another name")
    shown = lab.push_tag("exp-2", **settings)
    commit = lab.git("rev-parse", "--short=7", "HEAD")
    note = f"note: 5 changes in the lab's folder are not in commit {commit} and will not run. "
    assert f"{note}To list: git status\n" in shown and shown.index("note") < shown.index("exp-2.")


def test_a_push_of_another_commit_says_nothing_of_the_folder(lab: Lab) -> None:
    lab.pipeline(ECHO)
    lab.git("tag", "exp-1")
    lab.git("commit", "-q", "--allow-empty", "-m", "Later")
    lab.write("new", "")
    assert "note:" not in lab.git("push", "origin", "exp-1")
    assert "note: 1 change in" in lab.push_tag("exp-2")
    (lab.path / ".git/index").write_bytes(b"damaged")
    assert "[a] exp-3." in lab.git("push", "origin", "HEAD:refs/tags/exp-3")


@given(st.lists(st.sampled_from(["1 .M N... a", "u UU b", "? c d", "! e"])), st.text("abc\n #?1u "))
def test_the_changes_in_the_status_of_git_are_counted(entries: list[str], name: str) -> None:
    text = "\0".join(["# branch.oid 12ab", "# branch.head (detached)", *entries, f"? {name}", ""])
    assert read_status(text) == ("12ab", 1 + sum(each[0] != "!" for each in entries))
    assert read_status("") == ("", 0)
