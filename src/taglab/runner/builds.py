"""The builds of a lab on disk: one folder each in `.lab/builds`, with a record and a log."""
from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import sleep
from typing import TextIO

from taglab.engines.drone.outcome import ERROR, FINAL, PENDING, RUNNING, SKIPPED, StepState
from taglab.engines.drone.variables import Commit

CAPACITY = 2  # builds that run at the same time
INTERRUPTED = "interrupted"  # the error of a build whose runner died


@dataclass(frozen=True)
class PipelineRecord:
    """How one pipeline of a build stands."""

    name: str
    status: str = PENDING
    error: str = ""
    started: float = 0.0
    finished: float = 0.0
    steps: tuple[StepState, ...] = ()


@dataclass(frozen=True)
class Build:
    """How a build stands."""

    number: int
    commit: Commit
    created: float
    status: str = PENDING
    error: str = ""
    parent: int = 0
    started: float = 0.0
    finished: float = 0.0
    pipelines: tuple[PipelineRecord, ...] = ()

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

    def numbers(self) -> list[int]:
        """Return the numbers of all builds, oldest first."""
        if not self.root.exists():
            return []
        return sorted(int(path.name) for path in self.root.iterdir() if path.name.isdecimal())

    def create(self, commit: Commit, pipelines: list[str], now: float,
               **fields: object) -> tuple[Build, TextIO]:
        """Record a new build under the next number, before anything of it runs.

        Returns it with the open file that holds it. A build has its folder, record, log and
        holder at once or it does not exist. Raises OSError, and then it does not.
        """
        records = tuple(map(PipelineRecord, pipelines))
        folder = self.root / f"new-{os.urandom(8).hex()}"
        folder.mkdir(parents=True)
        try:
            hold = _lock(folder)
            (folder / "log").touch()
            while True:
                number = max(self.numbers(), default=0) + 1
                build = Build(number, commit, now, pipelines=records, **fields)
                _write(folder, build)
                if _take_name(folder, self.folder(number)):
                    break
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _sync(self.root)
        return build, hold

    def save(self, build: Build) -> None:
        """Write the record of a build; it is on disk when this returns, whole or not at all."""
        _write(self.folder(build.number), build)

    def load(self, number: int) -> Build | None:
        """Read the record of a build; None when there is none with this number.

        One that nothing works on any more is interrupted, also where nobody could write so.
        """
        build = self.recorded(number)
        if build and build.status not in FINAL and not self.is_held(number):
            build = self.recorded(number)  # it may have ended in between
        if build and build.status not in FINAL and not self.is_held(number):
            return interrupted(build, self.log(number))
        return build

    def recorded(self, number: int) -> Build | None:
        """Return what is written of a build; a record that cannot be read is an error."""
        folder = self.folder(number)
        if not folder.is_dir():
            return None
        try:
            return _read(folder)
        except (OSError, ValueError, TypeError, KeyError):
            return Build(number, Commit("tag", "?", "", "", "", "", "", ""),
                         folder.stat().st_mtime, ERROR,
                         f"its record is damaged; what it printed: lab logs {number}")

    def all(self) -> list[Build]:
        """Return the records of all builds, oldest first."""
        return [build for build in map(self.load, self.numbers()) if build]

    @contextmanager
    def held(self, number: int, hold: TextIO | None = None) -> Iterator[None]:
        """Hold a build: the kernel lets go of it when this process ends, however it ends."""
        with hold or _lock(self.folder(number)) as file:
            print(os.getpid(), file=file, flush=True)
            yield

    def is_held(self, number: int) -> bool:
        """Say whether a process works on the build."""
        return self.holder(number) is not None

    def holder(self, number: int) -> int | None:
        """Return the id of the process that works on the build, 0 before it is known, or None."""
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
        """Return the earlier builds that wait or run."""
        earlier = [other for other in self.numbers() if other < number and self.is_held(other)]
        return [build for build in map(self.load, earlier) if build and build.status not in FINAL]

    def wait_for_turn(self, number: int, cancelled: Callable[[], bool]) -> None:
        """Return when fewer than CAPACITY earlier builds run and none waits, or on cancellation."""
        while not cancelled():
            earlier = [build.status for build in self.unfinished_before(number)]
            if len(earlier) < CAPACITY and PENDING not in earlier:
                return
            sleep(0.1)


def interrupted(build: Build, log: Path) -> Build:
    """Return a build as it ended when its runner died, at its last sign of life."""
    ended = log.stat().st_mtime if log.exists() else build.started or build.created

    def end(part, **error):
        if part.status == RUNNING:
            return replace(part, status=ERROR, finished=ended, **error)
        return replace(part, status=SKIPPED) if part.status == PENDING else part

    pipelines = tuple(
        end(replace(each, steps=tuple(end(step, exit_code=255) for step in each.steps)),
            error=INTERRUPTED) for each in build.pipelines)
    return replace(build, status=ERROR, error=INTERRUPTED, finished=ended, pipelines=pipelines)


def _lock(folder: Path) -> TextIO:
    file = (folder / "held").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _write(folder: Path, build: Build) -> None:
    path = folder / "build.json"
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(build)))  # in one line: with `indent` it is slow
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(folder)


def _read(folder: Path) -> Build:
    data = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    data["commit"] = Commit(**data["commit"])
    data["pipelines"] = tuple(
        PipelineRecord(**{**each, "steps": tuple(StepState(**step) for step in each["steps"])})
        for each in data["pipelines"])
    return Build(**data)


def _take_name(folder: Path, name: Path) -> bool:
    """Rename a folder; False when another push took the name."""
    try:
        folder.rename(name)
        return True
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False


def _sync(folder: Path) -> None:
    """Let the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
