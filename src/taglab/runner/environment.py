"""Virtual environments: one per list of requirements, shared by all labs of a user.

Standard library only, since this runs before anything is installed.
"""
from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from taglab.disk import is_full
from taglab.errors import LabError
from taglab.runner.requirements import requirements_hash

Report = Callable[[str], None]
_DAY = 24 * 60 * 60
# The packages of a lab that take long to import, and longer without their bytecode.
_IMPORTED_FIRST = ("mlflow", "torch", "sklearn", "pandas", "matplotlib")


def environments_folder() -> Path:
    """Return the folder of this user's environments, in XDG_CACHE_HOME or ~/.cache.

    Raises EnvironmentFailure for a user without a home.
    """
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise LabError("this user has no home folder, where the packages would be kept. "
                       "Type: export HOME=FOLDER") from error
    return Path(cache) / "taglab" / "environments"


def environment_path(folder: Path) -> Path:
    """Return the path of the environment for `folder`/requirements.txt, existing or not."""
    python = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}-{platform.libc_ver()[0]}"
    return environments_folder() / f"{requirements_hash(folder)}-{python.strip('-')}"


def ensure_environment(folder: Path, report: Report) -> Path:
    """Return the path of the environment for `folder`/requirements.txt, making it if missing.

    Safe to call from several processes at once: one makes it, the others wait. `report` receives
    lines of progress. Raises LabError, leaving nothing half made.
    """
    path = environment_path(folder)
    ready = path / "ready"
    if not ready.exists():
        import venv  # slow to import, as what installs is, and seldom needed

        from taglab.runner.install import install

        def fill(lock: int) -> None:
            started = monotonic()
            report(f"making the environment {path.name} (once for these requirements)")
            venv.create(path, with_pip=False)
            install(path, folder / "requirements.txt", ensure_installer(report), lock, report)
            _warm_caches(path)
            report(f"environment ready after {monotonic() - started:.1f} s")

        _make_once(path, fill, report)
    os.utime(ready)  # marks when it was last used
    return path


def ensure_installer(report: Report) -> Path:
    """Return the environment of pip and uv, making it if missing. Raises LabError."""
    from taglab.runner.install import TOOLS, make_installer

    path = environment_path(TOOLS)
    if not (path / "ready").exists():
        _make_once(path, lambda lock: make_installer(path, lock, report), report)
        if not (path / "bin" / "uv").exists():  # the next environment tries again
            (path / "ready").unlink()
    return path


def _make_once(path: Path, fill: Callable[[int], None], report: Report) -> None:
    """Make the environment `path` unless another process does, which is waited for.

    `fill` gets the file descriptor of the lock, for the programs that it starts: the lock holds
    until the last of them has ended, even when this process is killed.
    """
    from taglab.runner.install import disk_full, no_venv

    try:
        with _exclusive(path.parent / f"{path.name}.lock", report) as lock:
            if (path / "ready").exists():
                return
            shutil.rmtree(path, ignore_errors=True)
            try:
                fill(lock)
                (path / "ready").touch()
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                raise
    except subprocess.CalledProcessError as error:
        raise no_venv(error) from error
    except OSError as error:
        if is_full(error):
            raise disk_full(str(error)) from error
        raise LabError(f"the environment {path} could not be made: {error}") from error


@contextmanager
def _exclusive(lock: Path, report: Report) -> Iterator[int]:
    """Hold a lock, and yield its file descriptor."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that is making this environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _warm_caches(path: Path) -> None:
    """Fill caches that libraries fill on first use: a step's HOME is always new and empty.

    What takes longer, the bytecode of what is imported first, goes on in the background.
    """
    variables = {**os.environ, "XDG_CACHE_HOME": str(path / "cache")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # which is for the user's own modules
    python, packages = path / "bin" / "python", next((path / "lib").glob("python*/site-packages"))
    names = [name for name in _IMPORTED_FIRST if (packages / name).exists()]
    if "matplotlib" in names:
        subprocess.run([python, "-c", "import matplotlib.font_manager"], capture_output=True,
                       env=variables)
    if names:
        subprocess.Popen([python, "-c", f"import os; os.nice(19); import {', '.join(names)}"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, env=variables, start_new_session=True)


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
    return sorted((Environment(path.name, folder_size(path), (path / "ready").stat().st_mtime)
                   for path in found), key=lambda each: each.used, reverse=True)


def prune_environments(days: float, now: float) -> list[Environment]:
    """Remove the environments that have not been used for `days` days, and return them."""
    old = [each for each in cached_environments() if now - each.used > days * _DAY]
    for each in old:
        remove_environment(each.name)
    return old


def remove_environment(name: str) -> None:
    """Remove an environment, also a half-made one; waits for a process that is making it."""
    path = environments_folder() / name
    with path.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (path / "ready").unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Return the size of all files below a folder, in bytes."""
    return sum(entry.lstat().st_size
               for parent, _, files in os.walk(folder)
               for entry in map(Path(parent).joinpath, files))
