"""The checks of `lab doctor` on the lab itself: its files, its links, its builds."""
from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from time import time

from taglab.cli.check import INIT, OK, SKIPPED, WRONG, Check
from taglab.errors import LabError
from taglab.hashes import edited_files
from taglab.lab import LIBRARY
from taglab.runner import remote
from taglab.runner.environment import environment_path
from taglab.runner.git import git
from taglab.runner.settings import default_settings, read_settings
from taglab.runner.state import FILE as STATE_VERSION, check_state

_TOML = ("pyproject.toml", "goals/goals.toml", "lab/processes/*/config.toml")
_SHOWN = 3  # files that are named, of many
_MARGIN = 5  # minutes that a pipeline may take to end after its time is up


def files(lab: Path) -> Iterator[Check]:
    """Check that the files which a build reads can be read."""
    problems = []
    for file in (file for pattern in _TOML for file in sorted(lab.glob(pattern))):
        try:
            tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            problems.append((f"{file.relative_to(lab)}: {error}", f"$EDITOR {file}"))
    try:
        read_settings(lab)
    except LabError as error:
        problems.append((str(error), f"$EDITOR {lab / 'runtimes' / 'machine.toml'}"))
    for text, remedy in problems:
        yield Check("files", WRONG, text, remedy)
    if not problems:
        yield Check("files", OK, "config.toml, goals.toml, machine.toml and pyproject.toml")
    try:
        yield from _drone_file(lab)
    except ImportError:
        yield Check("files", SKIPPED, ".drone.yml and the secrets: the packages of the lab command "
                    "are not installed yet; the next command does it")


def _drone_file(lab: Path) -> Iterator[Check]:
    """Check `.drone.yml` and the secrets; needs PyYAML."""
    from taglab.engines.drone.documents import FileError
    from taglab.engines.drone.lint import lint
    from taglab.runner.secrets import read_secrets

    try:
        errors = [each for each in lint((lab / ".drone.yml").read_text("utf-8", "replace"))
                  if each.level == "error"]
        if errors:
            text = f".drone.yml:{errors[0].line}: {errors[0].text}"
            yield Check("files", WRONG, text, "lab lint")
        else:
            yield Check("files", OK, ".drone.yml")
    except FileNotFoundError:
        yield Check("files", WRONG, ".drone.yml is missing", "git checkout HEAD -- .drone.yml")
    except FileError as error:
        yield Check("files", WRONG, f".drone.yml: {error}", "lab lint")
    try:
        read_secrets(lab)
    except LabError as error:
        yield Check("files", WRONG, str(error))


def venv(lab: Path) -> Iterator[Check]:
    """Check that `.venv` works and uses the packages of the current requirements."""
    paths = next((lab / ".venv" / "lib").glob("python*/site-packages/_lab_paths.py"), None)
    found = paths and re.search(r"addsitedir\('(.+)'\)", paths.read_text(encoding="utf-8"))
    problem = ""
    if not (lab / ".venv").exists():
        problem = ".venv is missing"
    elif not (lab / ".venv" / "bin" / "python").exists():
        problem = "the Python of .venv is gone"
    elif not found or not (lab / ".venv" / "bin" / "lab").exists():
        problem = ".venv was not made by `lab init`, or not to its end"
    elif not Path(found[1]).exists():
        problem = f"the packages of .venv are gone: {found[1]}"
    elif _environment_name(lab) not in Path(found[1]).parts:
        problem = ".venv was made for another requirements.txt or another Python"
    yield Check("venv", WRONG, problem, INIT) if problem else Check("venv", OK, ".venv")


def _environment_name(lab: Path) -> str:
    return environment_path(lab).name


def copy_of_library(lab: Path) -> Iterator[Check]:
    """Check that the lab's copy of this library is as it was delivered."""
    edited = edited_files(lab / LIBRARY)
    if not edited:
        text = "as delivered" if edited is not None else "no list of hashes to compare it with"
        yield Check("library", OK, f"{LIBRARY}: {text}")
        return
    names = ", ".join(edited[:_SHOWN]) + (", …" if edited[_SHOWN:] else "")
    changed = git("status", "--porcelain", "--", LIBRARY.as_posix(), cwd=lab)
    yield Check("library", WRONG, f"{LIBRARY} is not as it was delivered: {names}",
                f"git checkout HEAD -- {LIBRARY} && git clean -f -- {LIBRARY}" if changed else
                f"git log --stat -- {LIBRARY}    # and revert the commit that changed it")


def local_remote(lab: Path) -> Iterator[Check]:
    """Check the remote that runs what is pushed: the repository, its hook, the lab's link to it."""
    bare = lab / remote.REPOSITORY
    hook = bare / "hooks" / "post-receive"
    try:
        check_state(lab)
    except ValueError:
        yield Check("remote", WRONG, f"{STATE_VERSION} holds no number",
                    f"rm {STATE_VERSION} && {INIT}")
    except LabError as error:
        yield Check("remote", WRONG, str(error))
    if not (bare / "HEAD").exists():
        yield Check("remote", WRONG, "there is no local remote, so a push runs nothing", INIT)
    elif not hook.exists() or hook.read_text("utf-8", "replace") != remote.HOOK:
        yield Check("remote", WRONG, "its hook is missing or was changed: a push runs nothing",
                    INIT)
    elif not os.access(hook, os.X_OK):
        yield Check("remote", WRONG, "its hook may not be executed: a push runs nothing", INIT)
    elif git("config", "--file", str(bare / "config"), "--default", "", "--get",
             "core.hooksPath", cwd=lab).strip() != "hooks":
        yield Check("remote", WRONG, "git does not look for its hook: a push runs nothing", INIT)
    elif (name := remote.local_remote(lab)) is None:
        yield Check("remote", WRONG, f"no remote of the lab is {remote.REPOSITORY}", INIT)
    else:
        yield Check("remote", OK, f"git push {name} TAG runs on this machine")


def hanging_builds(lab: Path) -> Iterator[Check]:
    """Check that no build hangs: its runner has died, was stopped, or goes on after its time."""
    from taglab.engines.drone.outcome import FINAL
    from taglab.runner.builds import Builds

    builds, count = Builds(lab), 0
    try:
        minutes = read_settings(lab).timeout_minutes
    except LabError:
        minutes = default_settings().timeout_minutes
    for number in builds.numbers():
        build = builds.recorded(number)
        if build is None or build.status in FINAL:
            continue
        count += 1
        holder = builds.holder(number)
        late = any(each.status not in FINAL and each.started
                   and time() - each.started > 60 * (minutes + _MARGIN)
                   for each in build.pipelines)
        if holder is None:
            yield Check("builds", WRONG, f"build {number} has lost its runner", "lab status")
        elif _is_stopped(holder):
            yield Check("builds", WRONG, f"the runner of build {number} is stopped",
                        f"kill -CONT {holder}")
        elif late:
            yield Check("builds", WRONG, f"build {number} goes on after its {minutes:g} minutes",
                        f"lab cancel {number}")
    yield Check("builds", OK, f"{len(builds.numbers())}, of which {count} run or wait")


def _is_stopped(process: int) -> bool:
    """Return whether a process was stopped, as by Ctrl-Z; False where the system does not say."""
    if not process or shutil.which("ps") is None:
        return False
    import subprocess

    done = subprocess.run(["ps", "-o", "state=", "-p", str(process)], capture_output=True)
    return done.stdout.strip()[:1] == b"T"
