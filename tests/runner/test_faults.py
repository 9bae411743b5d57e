"""Whatever goes wrong after a push, its build is recorded, ends, and says why."""
from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglab.runner.process import why_not_started

from .conftest import PIPELINE, Lab

ECHO = "steps: [{name: a, image: x, commands: [echo $DRONE_TAG.]}]\n"
NESTED = "import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(1200)]"


@pytest.mark.parametrize(("files", "reason"), [
    ({"requirements.txt": b"-r base.txt\n"}, "cannot read base.txt, which requirements.txt names"),
    ({"requirements.txt": b"-r requirements.txt\n"}, "requirements.txt includes itself"),
    ({"requirements.txt": b"-r a/requirements.txt\n",
      "a/requirements.txt": b"-c ../requirements.txt\n"}, "requirements.txt includes itself"),
])
def test_requirements_of_no_use_are_the_reason_of_the_build(
        lab: Lab, files: dict[str, bytes], reason: str) -> None:
    for name, text in files.items():
        (lab.path / name).parent.mkdir(exist_ok=True)
        (lab.path / name).write_bytes(text)
    lab.pipeline(ECHO)
    shown = lab.push_tag("exp-1")
    assert reason in shown and "Traceback" not in shown
    assert lab.build().status == "error" and reason in lab.build().error
    assert lab.build().pipelines[0].status == "skipped"


def test_files_of_the_repository_are_not_those_of_the_build(lab: Lab) -> None:
    for folder in ("log", "held", "build.json", "build.new", "work", "library"):
        lab.write(f"{folder}/requirements.txt", "nothing\n")
    lab.write("work/1/constraints.txt", "nothing\n")
    lab.pipeline(ECHO)
    assert "[a] exp-1." in lab.push_tag("exp-1") and lab.build().status == "success"
    assert "[a] exp-1." in lab.lab("logs", "1").stdout


def test_deeply_nested_folders_stop_nothing(lab: Lab) -> None:
    lab.pipeline(f'steps: [{{name: a, image: x, commands: ["python3 -c \\"{NESTED}\\""]}}]\n')
    lab.push_tag("exp-1")
    assert lab.build().status == "success" and not (lab.path / ".lab/builds/1/work").exists()


LONG = ",\n            ".join(f"true {char * 30_000}" for char in "abc")  # printed too
STEPS = {
    "long commands": (f"commands: [{LONG}]", "its commands have 180"),
    "a bad name": ("commands: [echo never], environment: {'a=b': c}",
                   "the environment variable 'a=b' cannot be set"),
    "a file": ("commands: [echo never], working_dir: /drone/src/.drone.yml/below",
               "[Errno 20] Not a directory"),
}


@pytest.mark.parametrize("case", STEPS)
def test_a_step_that_cannot_start_fails_and_says_why(lab: Lab, case: str) -> None:
    step, reason = STEPS[case]
    lab.pipeline(f"""\
        steps:
        - {{name: a, image: x, failure: ignore, {step}}}
        - {{name: b, image: x, commands: [echo goes on]}}
        """)
    shown = lab.push_tag("exp-1")
    assert f"[a] the step could not run: {reason}" in shown
    assert "[b] goes on" in shown and "Traceback" not in shown
    assert lab.steps() == {"clone": "success", "a": "failure", "b": "success"}
    assert lab.build().pipelines[0].steps[1].exit_code == 126


@given(st.dictionaries(st.text(), st.text()), st.sampled_from([errno.E2BIG, errno.ENOENT]))
def test_any_environment_that_no_process_can_have_is_explained(
        environment: dict[str, str], number: int) -> None:
    reason = why_not_started(environment, OSError(number, "Why"))
    bad = [name for name, value in environment.items()
           if not name or "=" in name or "\0" in name + value]
    assert repr(bad[0]) in reason if bad else \
        (" bytes" if number == errno.E2BIG and environment else "Why") in reason


def test_a_very_long_message_of_a_commit_is_named(lab: Lab) -> None:
    lab.write(".drone.yml", PIPELINE + ECHO)
    lab.write("message", "long " * 40_000)
    lab.git("add", ".drone.yml")
    lab.git("commit", "-q", "-F", "message")
    assert "the variable DRONE_COMMIT_MESSAGE has 199999 bytes" in lab.push_tag("exp-1")
    assert lab.build().status == "failure" and lab.steps()["a"] == "failure"


def test_nothing_runs_in_a_build_that_the_runner_has_failed(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [rm -r $LAB_STATE/../secrets.toml, "
                 "mkdir $LAB_STATE/../secrets.toml]}]\n"
                 f"---\n{PIPELINE.replace('exp', 'two').replace('two-*', 'exp-*')}"
                 f"depends_on: [exp]\n{ECHO}")
    (lab.path / ".lab/secrets.toml").write_text("")
    (lab.path / ".lab/secrets.toml").chmod(0o600)
    (lab.path / ".lab/state").mkdir()
    lab.push_tag("exp-1")
    assert lab.build().status == "error"
    assert [each.status for each in lab.build().pipelines] == ["success", "error"]
    assert "running" not in (lab.path / ".lab/builds/1/build.json").read_text()


@pytest.mark.parametrize("then", ["", "echo other > $LOG"])
def test_a_step_that_removes_the_log_is_no_success(lab: Lab, then: str) -> None:
    commands = ["LOG=$LAB_STATE/../builds/1/log", "rm $LOG", then or "true"]
    lab.pipeline(f"steps: [{{name: a, image: x, commands: {commands}}}]\n")
    (lab.path / ".lab/state").mkdir()
    lab.push_tag("exp-1")
    assert (lab.build().status, lab.build().error) == (
        "error", "a step has removed the log of the build")
    assert "Traceback" not in lab.lab("logs", "1").stdout
