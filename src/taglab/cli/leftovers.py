"""What `lab clean` finds: builds, environments and files that nothing needs any more."""
from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taglab.engines.drone.outcome import FINAL
from taglab.errors import LabError
from taglab.lab import state_folder
from taglab.runner.builds import Builds
from taglab.runner.environment import (
    cached_environments, environment_path, environments_folder, folder_size)
from taglab.runner.settings import python_path

DAY = 24 * 60 * 60
BUILD, WORK, ENVIRONMENT, CACHE = "build", "work of a build", "environment", "cache"
ARTIFACTS, SEARCH, CHECKPOINT = "artifacts", "search", "checkpoint"
REMOVED = "removed-"  # begins the name of a build that is being removed
_HOUR = 60 * 60  # nobody needs as long to make a build or to write a checkpoint


@dataclass(frozen=True)
class Leftover:
    """Something that can be removed."""

    kind: str
    path: str
    size: int  # bytes
    reason: str


@dataclass(frozen=True)
class Limits:
    """What is old.

    keep: the newest builds stay, so many of them.
    days: so long something is unused.
    unfinished: whether searches and trainings that can be resumed are old after as long.
    """

    keep: int
    days: float
    unfinished: bool


def find_leftovers(lab: Path, limits: Limits, now: float) -> list[Leftover]:
    """Return all that can be removed. Raises LabError where the store cannot be read."""
    found = [*_old_builds(lab, limits, now), *_work(lab, now), *_environments(lab, limits, now),
             *_caches(), *_results(lab), *_unfinished(lab, limits, now)]
    return list({each.path: each for each in found[::-1]}.values())[::-1]


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file or a folder; False where there is none."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _leftover(kind: str, path: Path, reason: str) -> Leftover:
    size = folder_size(path) if path.is_dir() else path.lstat().st_size
    return Leftover(kind, str(path), size, reason)


def _old_builds(lab: Path, limits: Limits, now: float) -> Iterator[Leftover]:
    builds = Builds(lab)
    for number in builds.numbers()[:-limits.keep]:
        build = builds.recorded(number)
        if build and build.status in FINAL and not builds.is_held(number) \
                and now - max(build.finished, build.created) > limits.days * DAY:
            yield _leftover(BUILD, builds.folder(number), f"{build.name}, {build.status}: record "
                            "and log; the results in MLflow stay")


def _work(lab: Path, now: float) -> Iterator[Leftover]:
    """Yield what builds leave that were killed."""
    builds = Builds(lab)
    for number in builds.numbers():
        build = builds.recorded(number)
        if build and build.status in FINAL and not builds.is_held(number):
            for path in map(builds.folder(number).joinpath, ("work", "library", "build.new")):
                if path.exists():
                    yield _leftover(WORK, path, f"build {number} has ended")
    for path in sorted(builds.root.glob("new-*")):
        if now - path.stat().st_mtime > _HOUR and not is_locked(path / "held"):
            yield _leftover(WORK, path, "a push that was killed")
    for path in sorted(builds.root.glob(f"{REMOVED}*")):
        yield _leftover(WORK, path, "a build that was not removed to its end")


def _environments(lab: Path, limits: Limits, now: float) -> Iterator[Leftover]:
    folder, used = environments_folder(), _used_environments(lab)
    for each in cached_environments():
        if now - each.used > limits.days * DAY and each.name not in used:
            yield Leftover(ENVIRONMENT, str(folder / each.name), each.size,
                           f"not used for {(now - each.used) / DAY:.0f} days")
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.is_dir() and not (path / "ready").exists() \
                and not is_locked(path.with_name(f"{path.name}.lock")):
            yield _leftover(ENVIRONMENT, path, "half made")


def _used_environments(lab: Path) -> set[str]:
    """Return the names of the environments of this lab's `.venv`, requirements and builds."""
    builds, used = Builds(lab), set[str]()
    running = [builds.requirements(number) for number in builds.numbers() if builds.is_held(number)]
    runner = Path(__file__).parents[1] / "runner"  # with what this command and `lab add` need
    for folder in (lab, runner, runner / "installer", *running):
        with suppress(LabError):  # no requirements.txt, or one that cannot be read
            used.add(environment_path(folder).name)
    for file in (lab / ".venv").glob("lib/python*/site-packages/_lab_paths.py"):
        used.update(re.findall(r"/environments/([^/]+)/", file.read_text(encoding="utf-8")))
    return used


def _caches() -> Iterator[Leftover]:
    """Yield the cache of packages that uv has where the user's own cannot be written."""
    cache = environments_folder().with_name("uv")
    if cache.is_dir() and not any(map(is_locked, environments_folder().glob("*.lock"))):
        yield _leftover(CACHE, cache, "packages that uv keeps for the next environment")


def _results(lab: Path) -> Iterator[Leftover]:
    """Yield what no run in MLflow has any more; the library knows."""
    done = subprocess.run(
        [sys.executable, "-m", "taglab.tracking.leftovers", lab], cwd=lab,
        env={**os.environ, "PYTHONPATH": python_path(lab)}, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise LabError(said.removeprefix("error: "))
    found = json.loads(done.stdout)
    for path in map(Path, found["artifacts"]):
        yield _leftover(ARTIFACTS, path, "its run is deleted or not known")
    for path in map(Path, found["searches"]):
        if not is_locked(path):
            yield _leftover(SEARCH, path, "its run has finished or is deleted")


def _unfinished(lab: Path, limits: Limits, now: float) -> Iterator[Leftover]:
    """Yield half-written checkpoints and, where that is wanted, what nobody has resumed."""
    state = state_folder({"LAB_ROOT": str(lab)})
    for path in sorted(state.glob("training/*.pt.*")):
        if now - path.stat().st_mtime > _HOUR:
            yield _leftover(CHECKPOINT, path, "half written")
    old = [(CHECKPOINT, path, path) for path in sorted(state.glob("training/*.pt"))]
    old += [(SEARCH, file.parent, file) for file in sorted(state.glob("searches/*/trials.jsonl"))]
    for kind, path, written in old if limits.unfinished else ():
        days = (now - written.stat().st_mtime) / DAY
        if days > limits.days and not is_locked(path):
            yield _leftover(kind, path, f"not resumed for {days:.0f} days")
