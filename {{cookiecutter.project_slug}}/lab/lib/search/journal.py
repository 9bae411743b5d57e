"""What is known of the trials of a search, and where it outlives the process."""

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .plan import Plan, Point, SearchError
from .worker import FINISHED


def now() -> int:
    """Return the time as MLflow counts it, in milliseconds."""
    return int(time.time() * 1000)


@dataclass
class Record:
    """One trial: what it tries and, once it has ended, what came out."""

    number: int
    point: Point
    run_id: str = ""
    state: str = "RUNNING"
    values: list[float] = field(default_factory=list)  # of the metrics to optimise
    metrics: dict[str, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)  # by step
    error: str = ""  # the traceback
    attempts: int = 1
    ended: int = 0

    @classmethod
    def read(cls, line: str | bytes) -> "Record":
        """Return the record that a line of JSON holds."""
        found = json.loads(line)
        return cls(**found | {"reports": {int(step): value
                                          for step, value in found["reports"].items()}})

    def line(self, **changes: Any) -> str:
        """Return the record as a line of JSON."""
        return json.dumps(asdict(self) | changes)


class Journal:
    """What is known of an unfinished search, in a folder: a line for each trial that has ended.

    One process at a time has it; a second is refused. A line that is there is never lost, so a
    trial has ended when its line is written, and not before.
    """

    def __init__(self, folder: Path, identity: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"this search runs already, {folder} is in use; wait for its end, or"
                              f" give this one a name of its own: search(…, name=…)") from None
        self._file = open(folder / "trials.jsonl", "a+b")
        self._file.seek(0)
        # Its writer may have been killed in the middle of the last line.
        lines = [line for line in self._file.read().splitlines(True) if line.endswith(b"\n")]
        self._file.truncate(sum(map(len, lines)))
        if not lines:
            lines = [json.dumps(identity or uuid.uuid4().hex).encode()]
            self._write(lines[0])
        self.identity: str = json.loads(lines[0])
        self.ended = {record.number: record for record in map(Record.read, lines[1:])}

    def add(self, record: Record) -> None:
        """Write down that a trial has ended."""
        self._write(record.line().encode())
        self.ended[record.number] = record

    def _write(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def files(self, number: int) -> Path:
        """Return the folder of a trial's files, which are there until its run has them."""
        return self.folder / str(number)

    def forget(self) -> None:
        """Remove all that is known: the search is finished, the same one starts anew."""
        (self.folder / "trials.jsonl").unlink()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Let others have the folder."""
        self._file.close()
        os.close(self._lock)


def best(plan: Plan, records: Iterable[Record]) -> list[Record]:
    """Return the best finished trial, the first of equals; of several metrics all not beaten."""
    finished = sorted((each for each in records if each.state == FINISHED),
                      key=lambda record: record.number)
    losses = {record.number: plan.loss(record.values) for record in finished}
    if len(plan.directions) == 1:
        return sorted(finished, key=lambda record: losses[record.number])[:1]

    def beats(one: Record, other: Record) -> bool:
        pairs = list(zip(losses[one.number], losses[other.number]))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [each for each in finished if not any(beats(other, each) for other in finished)]
