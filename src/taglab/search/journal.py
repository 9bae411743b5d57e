"""The journal of an unfinished search: what its trials tried and how they ended, on disk."""

import fcntl
import json
import math
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from taglab.search.errors import SearchError
from taglab.search.messages import FAILED, FINISHED, PRUNED, Outcome, storable
from taglab.search.plan import Plan
from taglab.search.space import Point

STATES = {FINISHED: TrialState.COMPLETE, FAILED: TrialState.FAIL, PRUNED: TrialState.PRUNED}


@dataclass
class TrialRecord:
    """One trial: what it tries and, once it has ended, its outcome."""

    number: int
    point: Point
    run_id: str = ""
    state: str = "RUNNING"
    values: list[float] = field(default_factory=list)  # of the metrics to optimise
    metrics: dict[str, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)  # by step
    constraints: dict[str, float] = field(default_factory=dict)  # by name; met at 0 or less
    error: str = ""  # the traceback
    attempts: int = 1
    ended: int = 0  # milliseconds since the epoch
    refused: bool = False  # what it logged, by MLflow

    @classmethod
    def from_json(cls, line: str | bytes) -> "TrialRecord":
        """Return the record that a line of JSON holds."""
        record = cls(**json.loads(line))
        record.reports = {int(step): value for step, value in record.reports.items()}
        return record

    def to_json(self, **changes: Any) -> str:
        """Return the record, with some fields changed, as a line of JSON."""
        return json.dumps(vars(self) | changes)

    @property
    def can_be_best(self) -> bool:
        """Whether the trial finished and meets its constraints."""
        return self.state == FINISHED and all(each <= 0 for each in self.constraints.values())

    def end(self, outcome: Outcome) -> None:
        """Take over the outcome of the trial, which has ended now."""
        self.state, self.values = outcome.state, outcome.values
        self.metrics, self.error = outcome.metrics, outcome.error
        self.constraints = outcome.constraints
        self.ended = int(time.time() * 1000)

    def refuse(self, error: Exception) -> None:
        """Make a trial that has ended one that failed, since MLflow refuses what it logged."""
        self.state, self.refused = FAILED, True
        reason = str(error).strip().partition("\n\n")[0]
        text = f"MLflow refused what this trial logged: {reason}\n{self.error}"
        self.error = storable(text.strip())

    def to_optuna(self, plan: Plan) -> FrozenTrial:
        """Return this trial, which has ended, for Optuna's samplers and pruners."""
        # A sampler has learned from a trial before MLflow refuses it.
        state = FINISHED if self.refused and self.values else self.state
        return optuna.create_trial(
            state=STATES[state], values=self.values if state == FINISHED else None,
            params={name: self.point[name] for name in plan.sampled}, distributions=plan.sampled,
            intermediate_values=self.reports, constraints=self.constraints,
            user_attrs={"number": self.number, "ended": True})


class Journal:
    """A folder with a line of JSON for each trial that has ended, and the files of each trial.

    It outlives the process, so that a search that was interrupted can resume. A trial has ended
    once its line is on disk. Only one process at a time can open the folder; SearchError is
    raised for a second one.

    identity: tells this search from all others, and stays the same when it resumes.
    trials: how many the search has; those with higher numbers are of one that had more.
    """

    def __init__(self, folder: Path, identity: str, trials: float = math.inf) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"this search is already running, {folder} is in use; wait until it"
                              f" has ended, or name this one: search(…, name=…)") from None
        self._file = open(folder / "trials.jsonl", "a+b")
        self._file.seek(0)
        # A killed process may have left half a line at the end.
        lines = [line for line in self._file if line.endswith(b"\n")]
        self._file.truncate(sum(map(len, lines)))
        if not lines:
            lines = [json.dumps(identity).encode()]
            self._write(lines[0])
        self.identity: str = json.loads(lines[0])
        records = map(TrialRecord.from_json, lines[1:])
        self.ended = {record.number: record for record in records if record.number < trials}

    def add(self, record: TrialRecord) -> None:
        """Record that a trial has ended."""
        self._write(record.to_json().encode())
        self.ended[record.number] = record

    def _write(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def files(self, number: int) -> Path:
        """Return the folder of a trial's files, which is removed once its run holds them."""
        return self.folder / str(number)

    def end(self, finished: bool = True) -> None:
        """Delete the folder of a finished search, so that the same search starts afresh; unlock."""
        if finished:
            (self.folder / "trials.jsonl").unlink()
            shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        """Unlock the folder."""
        if not self._file.closed:
            self._file.close()
            os.close(self._lock)
