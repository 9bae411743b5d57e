"""How `lab verify` runs a tag again: apart from the lab, and without a trace."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglab.cli.verification import (
    FOLDER, Again, first_status, own_folder, own_settings, own_variables, run_again)
from taglab.errors import LabError
from taglab.runner.builds import Builds
from taglab.runner.settings import FILE as SETTINGS
from tests.runner.conftest import SOURCE, Lab, wait_for

SHOW = "env | grep -E '^(MLFLOW|LAB|XDG|GREETING|TOKEN|DRONE_REPO_NAME|DRONE_TAG)'; pwd"
SLEEP = f"sleep 4321.{os.getpid()}"  # which nobody else sleeps
RUN = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from taglab.cli.verification import own_folder, own_variables, run_again
lab = Path(sys.argv[2])
with own_folder(lab) as folder:
    print(folder, flush=True)
    run_again(lab, "exp-1", folder / "0", own_variables(lab, folder), sys.stdout.buffer)
"""


def run(lab: Lab, tag: str = "exp-1") -> tuple[Again, str, Path]:
    """Run a tag again; return how it ended, what was shown, and the folder, which is gone."""
    shown = BytesIO()
    with own_folder(lab.path) as folder:
        again = run_again(lab.path, tag, folder / "0", own_variables(lab.path, folder), shown)
        assert (again.code / ".drone.yml").exists() and not (again.code / ".lab").exists()
    return again, shown.getvalue().decode(), folder


@pytest.fixture
def steps(lab: Lab):
    """Return a function that tags a commit with a pipeline of one step, which runs a command."""
    # own_folder changes them for the whole process
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def commit(command: str) -> Lab:
        step = {"name": "a", "image": "x", "commands": [command],
                "environment": {"TOKEN": {"from_secret": "token"}}}
        lab.pipeline(f"steps: {json.dumps([step])}\n")
        lab.git("tag", "-f", "exp-1")
        return lab
    yield commit
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_tag_runs_apart_from_the_lab_with_its_settings_and_secrets(steps) -> None:
    lab: Lab = steps(SHOW)
    lab.write(str(SETTINGS), '[variables]\nGREETING = "hello"\nMLFLOW_TRACKING_URI = "http://x"\n')
    lab.write(".lab/secrets.toml", 'token = "abc"\n')
    (lab.path / ".lab/secrets.toml").chmod(0o600)
    again, shown, folder = run(lab)
    assert again.status == "success", shown
    values = dict(re.findall(r"\[a\] (\w+)=(.*)", shown))
    made = folder / "0" / "lab" / lab.path.name
    assert values["MLFLOW_TRACKING_URI"] == again.store == f"sqlite:///{made}/mlflow.db"
    assert values["LAB_STATE"] == f"{made}/.lab/state"
    assert values["GREETING"] == "hello" and values["TOKEN"] == "******"
    assert (values["DRONE_REPO_NAME"], values["DRONE_TAG"]) == (lab.path.name, "exp-1")
    assert "goes on without this terminal" not in shown, "it does not"
    assert not folder.exists() and not (lab.path / FOLDER).exists()
    assert Builds(lab.path).numbers() == [], "it is no build of the lab"
    assert lab.git("status", "--porcelain") == "?? runtimes/"


def test_packages_are_installed_anew_for_it(steps) -> None:
    lab: Lab = steps("python -c 'import sys; print(sys.prefix)'")
    lab.write("requirements.txt", "# nothing\n")
    lab.git("add", "-A")
    lab.git("commit", "-qm", "Packages")
    lab.git("tag", "-f", "exp-1")
    again, shown, folder = run(lab)
    assert "making the environment" in shown
    assert again.python and again.python.is_relative_to(folder / "cache")
    assert f"[a] {again.python.parents[1]}" in shown


def test_a_build_that_fails_or_that_nothing_triggers_is_told(steps) -> None:
    lab: Lab = steps("exit 3")
    assert run(lab)[0].status == "failure"
    lab.git("tag", "other-1")
    with pytest.raises(LabError, match="started no build:\n(.*\n)*.*no pipeline .* is triggered"):
        run(lab, "other-1")
    assert not (lab.path / FOLDER).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_running_and_no_folder(steps, number: int) -> None:
    lab: Lab = steps(f"echo begun; exec {SLEEP}5")
    process = subprocess.Popen([sys.executable, "-c", RUN, str(SOURCE), str(lab.path)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    folder = process.stdout.readline().strip()
    while "begun" not in (line := process.stdout.readline()) or "echo" in line:
        assert process.poll() is None
    process.send_signal(number)
    process.communicate()
    assert process.returncode not in (0, None)
    assert not Path(folder).exists() and not (lab.path / FOLDER).exists()
    assert subprocess.run(["pgrep", "-f", f"{SLEEP}5"], stdout=subprocess.PIPE).stdout == b""


def test_what_a_killed_one_has_left_is_removed_by_the_next(steps) -> None:
    lab: Lab = steps(f"echo begun; exec {SLEEP}7")
    process = subprocess.Popen([sys.executable, "-c", RUN, str(SOURCE), str(lab.path)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    while "begun" not in (line := process.stdout.readline()) or "echo" in line:
        assert process.poll() is None
    with own_folder(lab.path):
        assert folder.exists(), "it is in use"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with own_folder(lab.path):
        assert not folder.exists()
    wait_for(lambda: subprocess.run(["pgrep", "-f", f"{SLEEP}7"],
                                    stdout=subprocess.PIPE).stdout == b"")


toml_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: "{" not in text and "}" not in text)


@given(variables=st.dictionaries(toml_words, toml_words), minutes=st.floats(0.1, 1e6))
def test_any_settings_carry_over_but_for_where_results_and_state_go(
        tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str], minutes: float
) -> None:
    lab = tmp_path_factory.mktemp("lab")
    (lab / "runtimes").mkdir()
    pairs = "\n".join(f"{quoted(name)} = {quoted(value)}" for name, value in variables.items())
    (lab / SETTINGS).write_text(
        f"[variables]\n{pairs}\n[shell]\nnames = [\"HOMER\"]\n[limits]\ntimeout_minutes = "
        f"{minutes}\n", encoding="utf-8")
    found = tomllib.loads(own_settings(lab))
    mine = {name: value for name, value in variables.items()
            if name not in ("MLFLOW_TRACKING_URI", "LAB_STATE")}
    assert found["variables"].items() >= mine.items()
    assert found["variables"]["MLFLOW_TRACKING_URI"] == "sqlite:///{lab}/mlflow.db"
    assert "HOMER" in found["shell"]["names"] and found["limits"]["timeout_minutes"] == minutes


def quoted(text: str) -> str:
    """Return a TOML string in which every character is written as its number."""
    return '"' + "".join(f"\\U{ord(each):08x}" for each in text) + '"'


def test_a_build_is_expected_to_end_as_the_first_one_did(steps) -> None:
    lab: Lab = steps("exit 3")
    lab.git("push", "-q", "origin", "exp-1")
    commit = lab.git("rev-parse", "HEAD")
    assert first_status(lab.path, "exp-1", commit, "1") == "failure"
    for other in (("exp-2", commit, "1"), ("exp-1", "0" * 40, "1"), ("exp-1", commit, "2"),
                  ("exp-1", commit, "")):
        assert first_status(lab.path, *other) == "success", "it was made elsewhere"


@pytest.mark.parametrize("words", [["verify"], ["verify", "--all", "exp-1"],
                                   ["verify", "exp-1", "--tolerance", "-1"], ["diff", "exp-1"]])
def test_wrong_words_are_told_before_anything_is_made(lab: Lab, words: list[str]) -> None:
    done = lab.lab(*words)
    assert done.returncode == 3 and "making the environment" not in done.stdout
