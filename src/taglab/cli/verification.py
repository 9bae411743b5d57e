"""Runs a tag again for `lab verify`: in a repository, a store and environments of its own."""
from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import IO

from taglab.cli.launch import OPTIONS
from taglab.engines.drone.outcome import FINAL, SUCCESS
from taglab.errors import LabError
from taglab.git import git_environment
from taglab.lab import LIBRARY
from taglab.runner.builds import Build, Builds
from taglab.runner.environment import environment_path, environments_folder
from taglab.runner.folders import remove_folder
from taglab.runner.git import git
from taglab.runner.remote import REPOSITORY, make_remote
from taglab.runner.secrets import FILE as SECRETS
from taglab.runner.settings import FILE as SETTINGS
from taglab.runner.settings import default_settings, read_settings
from taglab.runner.workspace import clone

FOLDER = Path(".lab", "verify")
RUNNER = Path(__file__).parents[1] / "runner"  # with what it and the installer need
OWN = ("MLFLOW_TRACKING_URI", "LAB_STATE")  # settings of the lab that do not hold here
_NOT_PASSED_ON = ("MLFLOW_", "LAB_ROOT", "LAB_STATE", "VIRTUAL_ENV", "PYTHONPATH")
_GONE_WITHIN = 10.0  # seconds in which the last processes of a build end


@dataclass(frozen=True)
class Again:
    """A build that was made again.

    python: the interpreter of its environment; None where the commit has no requirements.txt or
        its packages could not be installed.
    code: a checkout of its commit.
    """

    status: str
    store: str
    python: Path | None
    code: Path


@contextmanager
def own_folder(lab: Path) -> Iterator[Path]:
    """Yield a new folder in `.lab/verify`; afterwards nothing of it is left, whatever happened.

    What an earlier process has left that was killed goes, too. SIGTERM and SIGHUP end the body as
    Ctrl-C does.
    """
    root = lab / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    _remove_abandoned(root)
    folder = Path(mkdtemp(dir=root))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            _remove(folder)
            with suppress(OSError):  # another one is being used
                root.rmdir()


def _remove_abandoned(root: Path) -> None:
    for folder in root.iterdir():
        with suppress(OSError), (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for repository in folder.glob("*/lab/*/.lab"):
                cancel_builds(repository.parent)
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder into which the last processes of a build may still write."""
    deadline = monotonic() + _GONE_WITHIN
    remove_folder(folder)
    while folder.exists() and monotonic() < deadline:
        sleep(0.2)
        remove_folder(folder)
    if folder.exists():
        print(f"warning: {folder} could not be removed", file=sys.stderr)


def make_lab(lab: Path, tag: str, folder: Path) -> Path:
    """Make a lab in `folder` that has nothing but the local remote, and return its path.

    It borrows the objects of the lab's repository, and has its settings, its secrets and its
    runner, which is the one that every push to the lab gets.
    """
    made = folder / lab.name  # the name is part of what a pipeline sees
    made.mkdir(parents=True)
    hashes = git("rev-parse", "--show-object-format", cwd=lab).strip()
    objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects", cwd=lab).strip()
    git("init", "--quiet", "--template=", "--initial-branch=main", f"--object-format={hashes}", ".",
        cwd=made)
    (made / LIBRARY.parent).symlink_to(lab / LIBRARY.parent)
    make_remote(made)
    for repository in (made / ".git", made / REPOSITORY):
        alternates = repository / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{objects}\n", encoding="utf-8")
    named = git("rev-parse", f"refs/tags/{tag}", cwd=lab).strip()
    git("update-ref", f"refs/tags/{tag}", named, cwd=made)
    if (lab / SECRETS).exists():
        (made / SECRETS).symlink_to(lab / SECRETS)
    if (lab / SETTINGS).exists():
        (made / SETTINGS).parent.mkdir(exist_ok=True)
        (made / SETTINGS).write_text(own_settings(lab), encoding="utf-8")
    return made


def own_settings(lab: Path) -> str:
    """Return the lab's machine.toml, but with results and state in the folder of who reads it."""
    settings, default = read_settings(lab), default_settings()
    variables = {**settings.variables, **{name: default.variables[name] for name in OWN}}
    return "\n".join([
        "[variables]", *(f"{_toml(name)} = {_toml(value)}" for name, value in variables.items()),
        "[shell]", f"names = {_toml(settings.shell)}",
        "[limits]", f"timeout_minutes = {settings.timeout_minutes}",
        f"tags_per_push = {settings.tags_per_push}", ""])


def _toml(value: str | Sequence[str]) -> str:
    """Return a string or strings as TOML, which is written as JSON is, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def own_variables(lab: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a push whose packages are installed anew, into `folder`.

    The files of the packages come from the caches of uv and pip, as for any new environment. The
    runner's own environments are those of this user, and its Python is this one.
    """
    cache, user = folder / "cache", Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    environments = cache / "taglab" / "environments"
    environments.mkdir(parents=True)
    for requirements in (RUNNER, RUNNER / "installer"):
        name = environment_path(requirements).name
        if (environments_folder() / name / "ready").exists():
            (environments / name).symlink_to(environments_folder() / name)
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(sys.executable)
    path = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep)
            if not Path(entry).is_relative_to(lab / ".venv")]
    kept = {name: value for name, value in git_environment().items()
            if not name.startswith(_NOT_PASSED_ON)}
    # Data is verified by its hash wherever it is, and may be on this machine alone.
    return {"UV_CACHE_DIR": str(user / "uv"), "PIP_CACHE_DIR": str(user / "pip"),
            "LAB_DATA": str(user / "taglab" / "data"), **kept,
            "XDG_CACHE_HOME": str(cache), "PATH": os.pathsep.join([str(folder / "bin"), *path])}


def run_again(lab: Path, tag: str, folder: Path, variables: Mapping[str, str],
              show: IO[bytes]) -> Again:
    """Push a tag to a lab of its own in `folder`, which is new, and return how the build ended.

    variables: the environment of the push.
    show: where the build is shown.

    Raises LabError when nothing was started. On Ctrl-C the build is ended first.
    """
    made, code = make_lab(lab, tag, folder / "lab"), folder / "code"
    with (folder / "push").open("wb") as said:
        # In a session of its own: Ctrl-C reaches this process alone, which then ends the build.
        push = subprocess.Popen(
            ["git", *OPTIONS, "push", "--no-verify", REPOSITORY.as_posix(), f"refs/tags/{tag}"],
            cwd=made, env=variables, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True)
    try:
        _follow(push, Builds(made).log(1), show)
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(ProcessLookupError):
            os.killpg(push.pid, signal.SIGTERM)
        push.wait()
        cancel_builds(made)
        raise
    build = Builds(made).load(1)
    if build is None:
        said_by_git = (folder / "push").read_text(encoding="utf-8", errors="replace")
        raise LabError(f"the push of {tag} started no build:\n{said_by_git.rstrip()}")
    code.mkdir()
    clone(made, build.commit.sha, code)
    return Again(build.status, f"sqlite:///{made}/mlflow.db", _python(made, build, variables), code)


def _follow(push: subprocess.Popen[bytes], log: Path, show: IO[bytes]) -> None:
    """Show a build's log until the push that started it has ended."""
    place, has_ended = 0, False
    while not has_ended:
        has_ended = push.poll() is not None  # before the last look
        if log.exists():
            with log.open("rb") as file:
                file.seek(place)
                show.write(file.read())
                place = file.tell()
            show.flush()
        sleep(0 if has_ended else 0.1)


def cancel_builds(lab: Path) -> None:
    """End all builds of a lab that run, and wait for it."""
    builds = Builds(lab)
    for number in builds.numbers():
        while (build := builds.load(number)) and build.status not in FINAL:
            if holder := builds.holder(number):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(holder, signal.SIGTERM)
            sleep(0.1)


def _python(lab: Path, build: Build, variables: Mapping[str, str]) -> Path | None:
    requirements = Builds(lab).requirements(build.number)
    if not (requirements / "requirements.txt").exists():
        return None
    name = environment_path(requirements).name
    found = Path(variables["XDG_CACHE_HOME"], "taglab", "environments", name, "bin", "python")
    return found if found.exists() else None


def first_status(lab: Path, tag: str, commit: str, number: str) -> str:
    """Return how the build ended that made a tag's runs; success where it was made elsewhere."""
    build = Builds(lab).recorded(int(number)) if number.isdecimal() else None
    is_it = build and build.commit.sha == commit and build.commit.tag == tag
    return build.status if build and is_it and build.status in FINAL else SUCCESS
