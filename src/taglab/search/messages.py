"""What a launcher, its server and its workers send one another.

The server imports this module before it forks, so it imports the standard library only.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINISHED, FAILED, PRUNED = "FINISHED", "FAILED", "KILLED"  # the statuses of MLflow runs


def storable(text: str) -> str:
    """Return a text as UTF-8 can hold it: lone surrogates, halves of a character, escaped."""
    return text.encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class Task:
    """A trial to run, from the launcher to a worker."""

    number: int
    point: dict[str, Any]  # the parameters; an index where `Choices` lists the values
    folder: Path  # for the trial's files
    metrics: list[str]  # to optimise
    seed: int
    environment: dict[str, str]
    asks: bool = True  # whether a pruner answers each report


@dataclass(frozen=True)
class Report:
    """An intermediate value of a trial. The launcher answers whether the trial is to be pruned."""

    value: float
    step: int


@dataclass(frozen=True)
class Reports:
    """What a trial has reported where no pruner listens, values by step; without an answer."""

    values: dict[int, float]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, from its worker."""

    state: str
    values: list[float] = field(default_factory=list)  # of the metrics to optimise
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""  # the traceback
    constraints: dict[str, float] = field(default_factory=dict)  # by name; met at 0 or less


@dataclass(frozen=True)
class WorkerDied:
    """The exit code of a worker, negative for a signal, from the server."""

    exit_code: int


@dataclass(frozen=True)
class LoadFailed:
    """The training function could not be loaded, from the server."""

    traceback: str


Result = Report | Reports | Outcome | WorkerDied
