"""Virtual environments: one per list of requirements, shared by all labs of a user.

Standard library only, since this runs before anything is installed.
"""
from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from taglab.errors import LabError

Report = Callable[[str], None]
_DAY = 24 * 60 * 60
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]\s*(\S+)")


class EnvironmentFailure(LabError):
    """An environment could not be made; the message says what failed and what to type."""


def requirements_lock(file: Path) -> str:
    """Return a requirements file without comments and blank lines, its included files inlined."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        include = _INCLUDE.match(line)
        if include:
            lines.append(requirements_lock(file.parent / include[1]))
        elif line:
            lines.append(line)
    return "\n".join(lines)


def requirements_hash(lab: Path) -> str:
    """Return 12 hex digits that identify the packages in `lab`/requirements.txt."""
    lock = requirements_lock(lab / "requirements.txt")
    return hashlib.sha256(lock.encode()).hexdigest()[:12]


def environments_folder() -> Path:
    """Return the folder of this user's environments, in XDG_CACHE_HOME or ~/.cache.

    Raises EnvironmentFailure for a user without a home.
    """
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise EnvironmentFailure("this user has no home folder, where the packages would be kept. "
                                 "Type: export HOME=FOLDER") from error
    return Path(cache) / "taglab" / "environments"


def environment_path(folder: Path) -> Path:
    """Return the path of the environment for `folder`/requirements.txt, existing or not."""
    python = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}-{platform.libc_ver()[0]}"
    return environments_folder() / f"{requirements_hash(folder)}-{python.strip('-')}"


def ensure_environment(folder: Path, report: Report) -> Path:
    """Return the path of the environment for `folder`/requirements.txt, making it if missing.

    Safe to call from several processes at once: one makes it, the others wait. `report` receives
    lines of progress. Raises EnvironmentFailure, leaving nothing half made.
    """
    try:
        path = environment_path(folder)
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename}: {error.strerror}") from error
    ready = path / "ready"
    if not ready.exists():
        with _exclusive(path.parent / f"{path.name}.lock", report):
            if not ready.exists():
                _make(path, folder / "requirements.txt", report)
                ready.touch()
    os.utime(ready)  # marks when it was last used
    return path


@contextmanager
def _exclusive(lock: Path, report: Report) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that is making this environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(path: Path, requirements: Path, report: Report) -> None:
    started = monotonic()
    shutil.rmtree(path, ignore_errors=True)
    report(f"making the environment {path.name} (once for these requirements)")
    try:
        venv.create(path, with_pip=True)
        _install(path, requirements, report)
        _warm_caches(path)
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, (OSError, subprocess.CalledProcessError)):
            raise EnvironmentFailure(
                f"python3 -m venv failed: {error}. On Debian and Ubuntu, type: "
                "sudo apt install python3-venv") from error
        raise
    report(f"environment ready after {monotonic() - started:.0f} s")


def _install(path: Path, requirements: Path, report: Report) -> None:
    command = [str(path / "bin" / "python"), "-m", "pip", "install", "--no-input",
               "--progress-bar=off", "--disable-pip-version-check", "--requirement",
               str(requirements)]
    hidden = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    errors, collected, reported = [], 0, monotonic()
    with subprocess.Popen(command, cwd=requirements.parent, env=variables, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as pip:
        for line in pip.stdout or ():
            if line.startswith("ERROR:"):
                errors.append(line.strip())
            elif line.startswith("Collecting "):
                collected += 1
                if monotonic() - reported > 2:
                    reported = monotonic()
                    report(f"{collected} packages found, now {line.split()[1]}")
            elif line.startswith("Installing collected packages"):
                report(f"installing {line.count(',') + 1} packages")
    if pip.returncode != 0:
        raise EnvironmentFailure("\n".join([
            f"pip could not install {requirements.name}:", *(errors or ["no reason given"]),
            "Correct requirements.txt and commit it, or check the network; then try again"]))


def _warm_caches(path: Path) -> None:
    """Fill caches that libraries fill on first use: a step's HOME is always new and empty."""
    if any((path / "lib").glob("python*/site-packages/matplotlib")):
        subprocess.run([path / "bin" / "python", "-c", "import matplotlib.font_manager"],
                       capture_output=True,
                       env={**os.environ, "XDG_CACHE_HOME": str(path / "cache")})


@dataclass(frozen=True)
class Environment:
    """A cached environment."""

    name: str
    size: int  # bytes
    used: float  # when it was last used, in seconds since the epoch


def cached_environments() -> list[Environment]:
    """Return this user's environments, most recently used first."""
    folder = environments_folder()
    found = [path for path in folder.iterdir() if (path / "ready").exists()] \
        if folder.exists() else []
    return sorted((Environment(path.name, _size(path), (path / "ready").stat().st_mtime)
                   for path in found), key=lambda each: each.used, reverse=True)


def prune_environments(days: float, now: float) -> list[Environment]:
    """Remove the environments that have not been used for `days` days, and return them."""
    old = [each for each in cached_environments() if now - each.used > days * _DAY]
    for each in old:
        path = environments_folder() / each.name
        with path.with_name(f"{each.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # no process may be making it
            (path / "ready").unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
    return old


def _size(folder: Path) -> int:
    return sum(entry.lstat().st_size
               for parent, _, files in os.walk(folder)
               for entry in map(Path(parent).joinpath, files))
