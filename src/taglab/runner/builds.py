"""The builds of a lab on disk: one folder each in `.lab/builds`, with a record and a log.

All times are in seconds since the epoch; one that has not come yet is 0.
"""
from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import sleep
from typing import Any, TextIO, TypeVar

from taglab.engines.drone.outcome import ERROR, FINAL, PENDING, RUNNING, SKIPPED, StepState
from taglab.engines.drone.variables import Commit
from taglab.runner.folders import remove_folder

CAPACITY = 2  # builds that may run at the same time
_RESERVE, _RESERVED = "reserve", 64 * 1024  # bytes, for the last record and lines of a build
INTERRUPTED = "interrupted"  # the error of a build whose runner died


@dataclass(frozen=True)
class PipelineRecord:
    """The state of one pipeline of a build."""

    name: str
    status: str = PENDING
    error: str = ""
    started: float = 0.0
    finished: float = 0.0
    steps: tuple[StepState, ...] = ()


_Part = TypeVar("_Part", PipelineRecord, StepState)


@dataclass(frozen=True)
class Build:
    """The state of a build."""

    number: int
    commit: Commit
    created: float
    status: str = PENDING
    error: str = ""
    parent: int = 0  # the build that this one repeats
    started: float = 0.0
    finished: float = 0.0
    pipelines: tuple[PipelineRecord, ...] = ()
    skip_done: bool = False  # whether processes that an earlier run has done are not run again

    @property
    def name(self) -> str:
        """The tag or branch that was pushed."""
        return self.commit.tag or self.commit.branch


class Builds:
    """The builds of one lab."""

    def __init__(self, lab: Path) -> None:
        self.lab = lab
        self.root = lab / ".lab" / "builds"

    def folder(self, number: int) -> Path:
        """Return the folder of a build."""
        return self.root / str(number)

    def log(self, number: int) -> Path:
        """Return the log file of a build."""
        return self.folder(number) / "log"

    def requirements(self, number: int) -> Path:
        """Return the folder for the requirements files of a build's commit, under their paths."""
        return self.folder(number) / "requirements"

    def numbers(self) -> list[int]:
        """Return the numbers of all builds, oldest first."""
        if not self.root.exists():
            return []
        return sorted(int(name) for name in os.listdir(self.root) if name.isdecimal())

    def create(self, commit: Commit, pipelines: list[str], now: float, *, status: str = PENDING,
               error: str = "", parent: int = 0,
               skip_done: bool = False) -> tuple[Build, TextIO]:
        """Record a new build under the next number, before anything of it runs.

        Returns the build and its lock file, open and locked. The folder appears under its number
        complete, with record, log and lock, or not at all. Raises OSError in the latter case.
        """
        records = tuple(PipelineRecord(name, status) for name in pipelines)
        folder = self.root / f"new-{os.urandom(8).hex()}"
        folder.mkdir(parents=True)
        try:
            hold = _lock(folder)
            (folder / "log").touch()
            (folder / _RESERVE).write_bytes(b"\0" * _RESERVED)
            while True:
                number = max(self.numbers(), default=0) + 1
                build = Build(number, commit, now, status, error, parent, pipelines=records,
                              skip_done=skip_done)
                _write(folder, build)
                if _take_name(folder, self.folder(number)):
                    break
        except OSError:
            remove_folder(folder)
            raise
        _sync(self.root)
        return build, hold

    def use_reserve(self, number: int) -> None:
        """Give back the space that was kept for the end of a build, for when the disk is full."""
        (self.folder(number) / _RESERVE).unlink(missing_ok=True)

    def save(self, build: Build) -> None:
        """Write a build's record to disk, atomically. Raises OSError."""
        _write(self.folder(build.number), build)

    def load(self, number: int) -> Build | None:
        """Return a build, or None when there is none with this number.

        A build whose runner has died is returned as interrupted, whether that is recorded yet
        or not.
        """
        build = self.recorded(number)
        if build and build.status not in FINAL and not self.is_held(number):
            build = self.recorded(number)  # it may have ended since it was read
        if build and build.status not in FINAL and not self.is_held(number):
            return interrupted(build, self.log(number))
        return build

    def recorded(self, number: int) -> Build | None:
        """Return a build as it is recorded; if the record is damaged, one that ended in error."""
        try:
            return _read(f"{self.root}/{number}/build.json")
        except (OSError, ValueError, TypeError, KeyError):
            folder = self.folder(number)
            return None if not folder.is_dir() else Build(
                number, Commit("tag", "?", "", "", "", "", "", ""), folder.stat().st_mtime, ERROR,
                f"its record is damaged. For its output, type: lab logs {number}")

    def all(self) -> list[Build]:
        """Return all builds, oldest first."""
        return [build for build in map(self.load, self.numbers()) if build]

    @contextmanager
    def held(self, number: int, hold: TextIO | None = None) -> Iterator[None]:
        """Lock a build, or take over its lock file `hold`, for as long as this process works on it.

        The kernel releases the lock when the process ends, however it ends.
        """
        with hold or _lock(self.folder(number)) as file:
            print(os.getpid(), file=file, flush=True)
            yield

    def is_held(self, number: int) -> bool:
        """Return whether a process is working on the build."""
        return self.holder(number) is not None

    def holder(self, number: int) -> int | None:
        """Return the id of the process that works on the build, 0 if not known yet, or None."""
        held = self.folder(number) / "held"
        try:
            with held.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except BlockingIOError:
            return int(held.read_text(encoding="utf-8") or 0)
        return None

    def unfinished_before(self, number: int) -> list[Build]:
        """Return the earlier builds that are pending or running."""
        earlier = [other for other in self.numbers() if other < number and self.is_held(other)]
        return [build for build in map(self.load, earlier) if build and build.status not in FINAL]

    def wait_for_turn(self, number: int, cancelled: Callable[[], bool]) -> None:
        """Wait until fewer than CAPACITY earlier builds run and none is pending, or `cancelled`."""
        while not cancelled():
            earlier = [build.status for build in self.unfinished_before(number)]
            if len(earlier) < CAPACITY and PENDING not in earlier:
                return
            sleep(0.1)


def interrupted(build: Build, log: Path) -> Build:
    """Return a build whose runner died as one that ended when it last wrote to its log."""
    return with_error(build, INTERRUPTED,
                      log.stat().st_mtime if log.exists() else build.started or build.created)


def with_error(build: Build, error: str, now: float) -> Build:
    """Return a build that an error has ended, with all that ran in it or had not started."""
    return replace(build, status=ERROR, error=error, finished=now,
                   pipelines=ended_pipelines(build.pipelines, error, now))


def ended_pipelines(pipelines: Iterable[PipelineRecord], error: str,
                    now: float) -> tuple[PipelineRecord, ...]:
    """Return pipelines in which nothing runs any more: what ran has an error, the rest is skipped.
    """
    found = []
    for pipeline in pipelines:
        steps = tuple(_end(step, finished=now, exit_code=255) for step in pipeline.steps)
        found.append(_end(replace(pipeline, steps=steps), finished=now, error=error))
    return tuple(found)


def _end(part: _Part, **changes: Any) -> _Part:
    """Return a pipeline or step that nothing works on any more, as an error if it was running."""
    if part.status == RUNNING:
        return replace(part, status=ERROR, **changes)
    return replace(part, status=SKIPPED) if part.status == PENDING else part


def _lock(folder: Path) -> TextIO:
    file = (folder / "held").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _write(folder: Path, build: Build) -> None:
    path = folder / "build.json"
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        record = asdict(build)
        if not build.skip_done:  # so that the library of an older commit can read it
            del record["skip_done"]
        file.write(json.dumps(record))  # `indent` would make it slow
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(folder)


def _read(record: str) -> Build:
    with open(record, "rb") as file:
        data = json.loads(file.read())
    data["commit"] = Commit(**data["commit"])
    data["pipelines"] = tuple(
        PipelineRecord(**{**each, "steps": tuple(StepState(**step) for step in each["steps"])})
        for each in data["pipelines"])
    return Build(**data)


def _take_name(folder: Path, name: Path) -> bool:
    """Rename `folder` to `name`; return False when another push has taken that name."""
    try:
        folder.rename(name)
        return True
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False


def _sync(folder: Path) -> None:
    """Make sure that the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
