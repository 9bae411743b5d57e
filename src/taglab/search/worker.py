"""A worker: a process, forked by the server, that runs one trial after another.

The server imports this module before it forks, so it imports the standard library only: no
threads and no numeric library, after which a fork is not safe.
"""

import contextlib
import copy
import ctypes
import faulthandler
import io
import math
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from taglab.search.messages import (
    FAILED, FINISHED, PRUNED, Outcome, Report, Reports, Task, storable)
from taglab.search.objective import Choices, name_of, params_at, read_result, takes_trial

PAUSE = 1.0  # seconds between two messages with reports, where no pruner listens


class Pruned(BaseException):
    """The pruner stops this trial.

    Not an `Exception`, so that a training function that catches those is stopped all the same.
    """


@dataclass
class ReportBuffer:
    """Keeps what a trial reports where no pruner listens, and sends it once a second."""

    connection: Connection
    values: dict[int, float] = field(default_factory=dict)  # by step
    sent: float = field(default_factory=time.monotonic)

    def add(self, value: float, step: int) -> None:
        """Keep a value; a step that was reported before changes nothing."""
        self.values.setdefault(step, value)
        if time.monotonic() - self.sent > PAUSE:
            self.send()

    def send(self) -> None:
        """Send what is kept."""
        if self.values:
            self.connection.send(Reports(self.values))
        self.values, self.sent = {}, time.monotonic()


@dataclass(frozen=True)
class Trial:
    """What a training function gets as its parameter `trial`."""

    number: int
    folder: Path  # files in it become artifacts of the trial's run
    connection: Connection = field(repr=False)
    constraints: dict[str, float] = field(default_factory=dict)  # as they were set
    buffer: ReportBuffer | None = field(default=None, repr=False)  # None: a pruner answers

    def report(self, value: float, step: int) -> None:
        """Report an intermediate value of the metric; raises Pruned where the trial is to stop.

        value: of the metric to optimise, after this step.
        step: counts what the trial has done so far, epochs for example.
        """
        if self.buffer:
            return self.buffer.add(float(value), int(step))
        self.connection.send(Report(float(value), int(step)))
        if self.connection.recv():
            raise Pruned(float(value))

    def set_constraint(self, name: str, value: float) -> None:
        """Set a constraint, which is met where its value is 0 or less; the last value counts.

        A trial that does not meet all its constraints is never the best one, and samplers avoid
        its like. Set the same names in each trial. Raises ValueError for NaN.
        """
        if math.isnan(number := float(value)):
            raise ValueError(f"the constraint {name!r} is {value}; it must be a number")
        self.constraints[name] = number


def run_trials(
    train: Callable[..., Any], choices: Choices, connection: Connection, control: Connection
) -> None:
    """Run the trials that arrive on `connection` until the server closes it.

    `control` is the server's connection to the launcher, of which a fork has a copy to close.
    """
    control.close()
    faulthandler.enable()
    with contextlib.suppress(EOFError):
        while True:
            connection.send(run_trial(train, choices, connection, connection.recv()))


def run_trial(
    train: Callable[..., Any], choices: Choices, connection: Connection, task: Task
) -> Outcome:
    """Return the outcome of a trial; what it prints goes to output.log in its folder."""
    with open(task.folder / "output.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(task.environment)
    seed_imported_libraries(task.seed)
    buffer = None if task.asks else ReportBuffer(connection)
    trial = Trial(task.number, task.folder, connection, buffer=buffer)
    try:
        # A copy, so that a trial that changes a value does not change it for the next one.
        params = copy.deepcopy(params_at(task.point, choices))
        if takes_trial(train):
            params["trial"] = trial
        try:
            metrics = read_result(train(**params), task.metrics, task.folder, name_of(train))
        finally:
            if buffer:
                buffer.send()
            _end_active_runs()
        return Outcome(FINISHED, [metrics[name] for name in task.metrics or metrics], metrics,
                       constraints=trial.constraints)
    except Pruned as pruned:
        return Outcome(PRUNED, list(pruned.args), constraints=trial.constraints)
    except BaseException:
        return Outcome(FAILED, error=storable(traceback.format_exc()))
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)  # the buffers of C code


def seed_imported_libraries(seed: int) -> None:
    """Seed the generators of Python and, where they are imported, of NumPy and PyTorch.

    Forked workers would otherwise all draw the same numbers.
    """
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def _end_active_runs() -> None:
    """End the MLflow runs that a training function left open."""
    if mlflow := sys.modules.get("mlflow"):
        while mlflow.active_run():
            mlflow.end_run()
