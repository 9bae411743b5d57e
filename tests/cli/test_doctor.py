"""`lab doctor`: what it says of labs in which one thing is broken, or everything missing."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglab.cli.check import OK, SKIPPED, WRONG, Check
from taglab.cli.check_machine import NEEDED, space
from taglab.cli.check_results import PATIENCE, is_in_cluster
from taglab.cli.checks import CHECKS, as_text, check_all
from taglab.runner.environment import environment_path
from taglab.tracking.schema import known_revisions, newest
from tests.cli.test_server import address  # noqa: F401  fixture
from tests.lab_packages import lab_requirements
from tests.runner.conftest import GIT_VARIABLES, WAIT, Lab, new_lab, wait_for

STEPS = "steps:\n- name: a\n  image: x:1\n  commands: [echo runs]\n"


@pytest.fixture(autouse=True)
def author(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be somebody whom git knows, without variables of other labs."""
    for name, value in GIT_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LAB_STATE", raising=False)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Return a lab in which nothing is wrong."""
    lab = new_lab(tmp_path_factory.mktemp("first") / "my-lab")
    lab.write("requirements.txt", "")
    lab.write("pyproject.toml", "[project]\nname = 'my-lab'\n")
    lab.pipeline(STEPS)
    assert lab.lab("init").returncode == 0
    return lab


@pytest.fixture
def sound(first: Lab, tmp_path: Path) -> Lab:
    """Return a copy of that lab: to make one takes longer."""
    return Lab(shutil.copytree(first.path, tmp_path / "my-lab", symlinks=True))


def found(lab: Lab, name: str) -> list[Check]:
    """Return what a check finds."""
    return [each for each in check_all(lab.path) if each.name == name]


def wrong(lab: Lab) -> dict[str, tuple[str, str]]:
    """Return what is wrong, by the check that found it: the text and what to type."""
    return {each.name: (each.text, each.remedy) for each in check_all(lab.path)
            if each.status == WRONG}


def test_a_sound_lab_has_nothing_wrong_and_the_report_is_quick(sound: Lab) -> None:
    started = monotonic()
    done = sound.lab("doctor")
    assert monotonic() - started < 3
    assert done.returncode == 0, done.stdout
    assert {line[:2] for line in done.stdout.splitlines()} == {"ok", "- "}
    assert "Ann Lee <ann@lab.example>" in done.stdout and "Type:" not in done.stdout
    assert "server   " in done.stdout and "not connected to one: lab connect URL" in done.stdout
    shown = json.loads(sound.lab("doctor", "--json").stdout)
    assert {each["name"] for each in shown} == {*CHECKS, "installer"}
    assert {each["status"] for each in shown} == {OK, SKIPPED}
    assert sound.git("status", "--porcelain") == ""


def test_a_lab_that_was_moved_stays_sound(sound: Lab, tmp_path: Path) -> None:
    sound.path = sound.path.rename(tmp_path / "moved, 100%")
    assert wrong(sound) == {}


def break_hook(lab: Path) -> None:
    (lab / ".lab/origin.git/hooks/post-receive").write_text("#!/bin/sh\n/old/place/lab receive\n")


def break_mode(lab: Path) -> None:
    (lab / ".lab/origin.git/hooks/post-receive").chmod(0o644)


def break_hooks_path(lab: Path) -> None:
    subprocess.run(["git", "config", "--unset", "core.hooksPath"], cwd=lab / ".lab/origin.git",
                   check=True)


def break_url(lab: Path) -> None:
    subprocess.run(["git", "remote", "set-url", "origin", "/old/place/.lab/origin.git"], cwd=lab,
                   check=True)


def break_python(lab: Path) -> None:
    for file in (lab / ".venv/bin").glob("python*"):
        file.unlink()
        file.symlink_to("/old/place/python3")


def break_requirements(lab: Path) -> None:
    (lab / "requirements.txt").write_text("something-else==1\n")


@pytest.mark.parametrize(("broken", "name", "words"), [
    (break_hook, "remote", "its hook is missing or was changed"),
    (break_mode, "remote", "its hook may not be executed"),
    (break_hooks_path, "remote", "git does not look for its hook"),
    (break_url, "remote", "no remote of the lab is .lab/origin.git"),
    (lambda lab: shutil.rmtree(lab / ".lab"), "remote", "there is no local remote"),
    (lambda lab: shutil.rmtree(lab / ".venv"), "venv", ".venv is missing"),
    (break_python, "venv", "the Python of .venv is gone"),
    (break_requirements, "venv", ".venv was made for another requirements.txt"),
    (break_requirements, "environment", "there is none for the current requirements.txt"),
])
def test_what_init_mends_is_named(sound: Lab, broken: Callable[[Path], None], name: str,
                                  words: str) -> None:
    broken(sound.path)
    text, remedy = wrong(sound)[name]
    assert text.startswith(words) and remedy == "python3 vendor/taglab init"
    if name == "remote" and broken is not break_url:
        assert sound.lab("init").returncode == 0 and wrong(sound) == {}


@pytest.mark.parametrize(("file", "text", "words"), [
    ("lab/processes/a/config.toml", "x = [\n", "lab/processes/a/config.toml: "),
    ("pyproject.toml", "[project\n", "pyproject.toml: "),
    ("runtimes/machine.toml", "[limit]\n", "runtimes/machine.toml: unknown: limit"),
    ("goals/goals.toml", "\udcff", "goals/goals.toml: "),
    (".drone.yml", "kind: pipeline\nsteps: [\n", ".drone.yml:"),
    (".lab/secrets.toml", "a = 'b'\n", "others may read "),
    (".lab/version", "two\n", ".lab/version holds no number"),
    (".lab/version", "99\n", "what lies in .lab has version 99"),
    ("requirements.txt", "-r missing.txt\n", "cannot read missing.txt"),
    (".lab/builds/1/build.json", "{", ""),  # damage of one build is shown by `lab builds`
])
def test_a_file_that_cannot_be_used_is_named(sound: Lab, file: str, text: str,
                                             words: str) -> None:
    (sound.path / file).parent.mkdir(parents=True, exist_ok=True)
    (sound.path / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    done = sound.lab("doctor")
    assert "Traceback" not in done.stdout
    assert done.returncode == (1 if words else 0)
    assert not words or any(line.startswith("! ") and words in line
                            for line in done.stdout.splitlines()), done.stdout


def test_it_works_where_nothing_is_installed_or_made(lab: Lab, tmp_path: Path) -> None:
    shutil.rmtree(lab.path / ".lab")
    shutil.rmtree(lab.path / ".git")
    done = lab.run(sys.executable, "-S", "-B", "vendor/taglab", "doctor",  # no site-packages
                   XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert f"!  git          {lab.path} is not a git repository\n" in done.stdout
    assert "Type: git init -b main" in done.stdout
    assert ".drone.yml and the secrets: the packages of the lab command" in done.stdout
    assert not (tmp_path / "cache").exists() and not (lab.path / ".lab").exists()


def test_a_machine_without_git_or_a_user_without_home_gets_a_report(
        lab: Lab, tmp_path: Path) -> None:
    done = lab.run(sys.executable, "vendor/taglab", "doctor", PATH=str(tmp_path))
    assert done.returncode == 1 and "git is not in PATH" in done.stdout, done.stdout
    assert "a push runs python3 from PATH, which is not there" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_git_that_does_not_know_who_commits_is_named(
        sound: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GIT_VARIABLES:
        if "AUTHOR" in name or "COMMITTER" in name:
            monkeypatch.delenv(name)
    monkeypatch.delenv("EMAIL", raising=False)
    text, remedy = wrong(sound)["git"]
    assert "does not know who commits" in text and "git config --global user.name" in remedy


def test_an_edited_library_is_named_with_the_way_back(sound: Lab) -> None:
    from taglab.hashes import write_hashes
    copy = sound.path / "vendor" / "taglab"
    source = copy.resolve()
    copy.unlink()
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    write_hashes(copy)
    sound.write(".gitignore", ".lab/\n.venv/\n__pycache__/\n")
    sound.git("add", "-A")
    sound.git("commit", "-q", "-m", "The library")
    assert wrong(sound) == {}
    sound.write("vendor/taglab/names.py", "edited = True\n")
    text, remedy = wrong(sound)["library"]
    assert text == "vendor/taglab is not as it was delivered: names.py"
    sound.run("sh", "-c", remedy)
    assert wrong(sound) == {}
    sound.write("vendor/taglab/names.py", "edited = True\n")
    sound.git("commit", "-q", "-a", "-m", "Edited")
    assert wrong(sound)["library"][1].startswith("git log --stat -- vendor/taglab")


@pytest.mark.parametrize(("revision", "words"), [
    (newest(known_revisions()), ""), ("0123456789ab", "an MLflow newer than the installed 3."),
    (min(set(known_revisions()) - {newest(known_revisions())}),
     "an MLflow older than the installed 3.")])
def test_a_store_of_another_mlflow_is_named(sound: Lab, revision: str, words: str) -> None:
    sound.write("requirements.txt", lab_requirements("pytorch"))  # made for the tests before
    assert (environment_path(sound.path) / "ready").exists()
    with contextlib.closing(sqlite3.connect(sound.path / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    [check] = found(sound, "store")
    assert (check.status, check.text.startswith(words)) == (WRONG if words else OK, True)
    assert ("mlflow db upgrade" in check.remedy) == ("older" in words)
    assert not list(sound.path.glob("mlflow.db-*"))


def test_a_damaged_store_is_named(sound: Lab) -> None:
    sound.write("mlflow.db", "this is no database, but long enough to be one" * 99)
    text, remedy = wrong(sound)["store"]
    assert "not a database" in text and remedy.startswith(f"mv {sound.path}/mlflow.db ")


def test_results_that_wait_are_named(sound: Lab) -> None:
    (sound.path / ".lab/state/outbox/a-1").mkdir(parents=True)
    text, remedy = wrong(sound)["waiting"]
    assert "the results of 1 processes wait" in text and remedy == "lab replay"


def test_only_a_lab_with_a_server_asks_the_servers_and_none_for_long(
        sound: Lab, address: str, tmp_path: Path) -> None:  # noqa: F811
    silent = socket.create_server(("127.0.0.1", 0))  # takes calls, answers none
    sound.pipeline(f"environment:\n  MLFLOW_TRACKING_URI: {address}\n"
                   f"  MLFLOW_S3_ENDPOINT_URL: http://127.0.0.1:{silent.getsockname()[1]}\n"
                   "  MLFLOW_URL: http://mlflow-server:5000\n" + STEPS)
    [check] = found(sound, "server")
    assert check.status == SKIPPED and "lab connect" in check.text
    sound.git("remote", "rename", "origin", "local")
    sound.git("remote", "add", "origin", f"file://{tmp_path}/lab.git")
    started = monotonic()
    checks = found(sound, "server")
    assert monotonic() - started < PATIENCE + 1
    assert sorted((each.status, each.remedy.split(":")[0]) for each in checks) == [
        (OK, ""), (SKIPPED, ""), (WRONG, "curl -v http")]
    assert f"{address}/health answers" in [each.text for each in checks]
    silent.close()


@pytest.mark.parametrize(("url", "inside"), [
    ("http://mlflow-server:5000/health", True), ("http://s3.storage.svc:9000/", True),
    ("http://a.b.svc.cluster.local/", True), ("http://localhost:5000/health", False),
    ("https://mlflow.team.example/health", False), ("http://[::1]:5000/", False)])
def test_names_that_only_a_cluster_knows_are_not_asked(url: str, inside: bool) -> None:
    assert is_in_cluster(url) == inside


def test_a_build_that_hangs_is_named(sound: Lab) -> None:
    from taglab.runner.builds import Builds
    sound.pipeline(f"steps:\n- {{name: a, image: 'x:1', commands: ['{WAIT}']}}\n")
    sound.git("tag", "exp-1")
    push = sound.start_push("origin", "exp-1")
    wait_for(lambda: sound.build(1) and sound.build(1).pipelines[0].started
             and Builds(sound.path).holder(1))
    holder = Builds(sound.path).holder(1)
    assert holder and found(sound, "builds")[0].text == "1, of which 1 run or wait"
    try:
        os.kill(holder, signal.SIGSTOP)
        wait_for(lambda: "builds" in wrong(sound), 5)
        assert wrong(sound)["builds"] == (
            "the runner of build 1 is stopped", f"kill -CONT {holder}")
        os.kill(holder, signal.SIGCONT)
        sound.write("runtimes/machine.toml", "[limits]\ntimeout_minutes = -10\n")
        assert wrong(sound)["builds"][1] == "lab cancel 1"
    finally:
        os.kill(holder, signal.SIGCONT)
        sound.write(".lab/state.go", "")
        push.wait()
    builds, build = Builds(sound.path), sound.build(1)
    assert build.status == "success" and "builds" not in wrong(sound)
    builds.save(replace(build, status="running"))  # as a runner leaves it that was killed
    assert wrong(sound)["builds"] == ("build 1 has lost its runner", "lab status")
    sound.lab("status")
    assert "builds" not in wrong(sound)


def test_a_full_disk_is_named() -> None:
    assert space(Path("/x"), NEEDED).status == OK
    assert space(Path("/x"), NEEDED - 1) == Check(
        "disk", WRONG, "only 2.0 GB free in /x", "lab clean")


@settings(max_examples=50)
@given(st.lists(st.builds(Check, st.text(max_size=9), st.sampled_from([OK, WRONG, SKIPPED]),
                          st.text(max_size=20), st.text(max_size=9)), min_size=1))
def test_any_report_has_a_line_for_each_check(checks: list[Check]) -> None:
    text = as_text(checks)
    assert text.count("\n") == len(checks) - 1 + sum(bool(each.remedy) for each in checks) + sum(
        each.name.count("\n") + each.text.count("\n") + each.remedy.count("\n") for each in checks)
