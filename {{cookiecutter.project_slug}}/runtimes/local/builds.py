"""The builds of a lab on disk: one folder each in `.lab/builds`, with a record and a log."""
from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import sleep

from local.outcome import ERROR, FINAL, PENDING, StepState
from local.variables import Commit

CAPACITY = 2  # builds that run at the same time


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
        return sorted(int(path.name) for path in self.root.iterdir() if path.name.isdigit())

    def create(self, commit: Commit, pipelines: list[str], now: float, **fields: object) -> Build:
        """Record a new build under the next number, before anything of it runs."""
        self.root.mkdir(parents=True, exist_ok=True)
        while True:
            number = max(self.numbers(), default=0) + 1
            try:
                self.folder(number).mkdir()
                break
            except FileExistsError:  # another push took it
                continue
        self.log(number).touch()
        build = Build(number, commit, now, pipelines=tuple(map(PipelineRecord, pipelines)),
                      **fields)
        self.save(build)
        return build

    def save(self, build: Build) -> None:
        """Write the record of a build; it is on disk when this returns, whole or not at all."""
        path = self.folder(build.number) / "build.json"
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(build), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def load(self, number: int) -> Build | None:
        """Read the record of a build; None when there is none with this number."""
        try:
            data = json.loads((self.folder(number) / "build.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        data["commit"] = Commit(**data["commit"])
        data["pipelines"] = tuple(
            PipelineRecord(**{**each, "steps": tuple(StepState(**step) for step in each["steps"])})
            for each in data["pipelines"])
        return Build(**data)

    def all(self) -> list[Build]:
        """Return the records of all builds, oldest first."""
        return [build for build in map(self.load, self.numbers()) if build]

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Hold a build: the kernel lets go of it when this process ends, however it ends."""
        with (self.folder(number) / "held").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            print(os.getpid(), file=file, flush=True)
            yield

    def is_held(self, number: int) -> bool:
        """Say whether a process is working on the build."""
        try:
            with (self.folder(number) / "held").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def holder(self, number: int) -> int | None:
        """Return the id of the process that works on the build, or None."""
        if not self.is_held(number):
            return None
        text = (self.folder(number) / "held").read_text(encoding="utf-8").strip()
        return int(text) if text.isdigit() else None

    def wait_for_turn(self, number: int, cancelled: Callable[[], bool]) -> None:
        """Return when fewer than CAPACITY earlier builds are unfinished, or on cancellation."""
        while not cancelled():
            earlier = [other for other in self.numbers() if other < number]
            if sum(map(self.is_held, earlier)) < CAPACITY:
                return
            sleep(0.2)

    def end_interrupted(self, now: float) -> list[Build]:
        """Record as `error: interrupted` each build that nothing works on any more."""
        ended = []
        for build in self.all():
            old_enough = now - build.created > 10  # its runner may be about to start
            if build.status not in FINAL and old_enough and not self.is_held(build.number):
                ended.append(replace(build, status=ERROR, error="interrupted", finished=now))
                self.save(ended[-1])
        return ended
