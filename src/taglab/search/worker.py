"""The processes that run trials: a server that loads the training function, and its workers.

The server is a clean Python that loads the function once, where no thread and no numeric library
has run, and forks the workers: so a fork is safe, and takes milliseconds.
"""

import contextlib
import copy
import ctypes
import faulthandler
import inspect
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import cloudpickle

FINISHED, FAILED, PRUNED = "FINISHED", "FAILED", "KILLED"  # as MLflow calls the states of a run
Choices = dict[str, list[Any]]  # of parameters; a point holds an index in them


class Pruned(BaseException):
    """The pruner stops this trial. Not an `Exception`: what catches those lets it pass."""


@dataclass(frozen=True)
class Trial:
    """What a `train` sees that has a parameter called `trial`."""

    number: int
    folder: Path  # what is put here becomes an artifact of the trial's run
    connection: Connection = field(repr=False)

    def report(self, value: float, step: int) -> None:
        """Tell how good the trial is after a step; raises `Pruned` when it is not worth more."""
        self.connection.send((float(value), int(step)))
        if self.connection.recv():
            raise Pruned(float(value))


def serve(handle: int) -> None:
    """Load the function, run workers, tell what they say; the end of the launcher is the end."""
    try:
        with contextlib.suppress(EOFError, OSError):
            _serve(Connection(handle))
    finally:
        os.killpg(0, signal.SIGKILL)  # this process, the workers, and what they started


def _serve(control: Connection) -> None:
    pickled, workers = control.recv()
    try:
        train, choices = cloudpickle.loads(pickled)
    except BaseException:
        return control.send((None, traceback.format_exc()))
    processes: dict[Connection, Any] = {}
    busy: dict[int, Connection] = {}  # by the number of the trial
    while True:
        while len(processes) < workers:
            ours, theirs = multiprocessing.Pipe()
            processes[ours] = multiprocessing.get_context("fork").Process(
                target=_work, args=(train, choices, theirs, control))
            processes[ours].start()
            theirs.close()
        ready = wait([control, *processes])[0]
        if ready is control:
            number, message = control.recv()
            if isinstance(message, dict):  # a trial, else the answer to a report
                busy[number] = next(each for each in processes if each not in busy.values())
            with contextlib.suppress(OSError, KeyError):  # its worker has died
                busy[number].send(message)
            continue
        number = next((number for number in busy if busy[number] is ready), None)
        try:
            message = ready.recv()
        except (EOFError, OSError):
            process = processes.pop(ready)
            process.join()
            message = process.exitcode
        if not isinstance(message, tuple):  # no report: the trial has ended
            busy.pop(number, None)
        control.send((number, message))


def _work(
    train: Callable[..., Any], choices: Choices, connection: Connection, control: Connection
) -> None:
    """Run the trials that come, until no more can come."""
    control.close()
    faulthandler.enable()
    with contextlib.suppress(EOFError):
        while True:
            task = connection.recv()
            # A copy: what one trial does to a choice is no matter of the next one.
            params = copy.deepcopy(params_at(task.pop("point"), choices))
            connection.send(run_trial(train, params, connection, **task))


def params_at(point: dict[str, Any], choices: Choices) -> dict[str, Any]:
    """Return what a function gets at a point, which holds the indices of choices."""
    return {name: choices[name][held] if name in choices else held
            for name, held in point.items()}


def run_trial(
    train: Callable[..., Any], params: dict[str, Any], connection: Connection, number: int,
    folder: Path, metrics: list[str], seed: int, environment: dict[str, str],
) -> dict[str, Any]:
    """Return how a trial ended; all that is printed goes to output.log in its folder."""
    with open(folder / "output.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(environment)
    seed_all(seed)
    try:
        if takes_trial(train):
            params["trial"] = Trial(number, folder, connection)
        try:
            found = read_result(train(**params), metrics, folder, name_of(train))
        finally:
            while "mlflow" in sys.modules and sys.modules["mlflow"].active_run():
                sys.modules["mlflow"].end_run()
        return {"state": FINISHED, "metrics": found,
                "values": [found[name] for name in metrics or found]}
    except Pruned as pruned:
        return {"state": PRUNED, "values": list(pruned.args)}
    except BaseException:
        return {"state": FAILED, "error": traceback.format_exc()}
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)  # what C code printed


def read_result(
    result: Any, wanted: list[str], folder: Path, train: str = "train"
) -> dict[str, float]:
    """Return the metrics that a function returned; its files and figures go to the folder."""
    if result is None:
        raise TypeError(f"{train} returned None; return the number to optimise, or a dict")
    if not isinstance(result, Mapping):
        result = {(wanted or ["value"])[0]: result}
    metrics = {}
    for key, value in result.items():
        if isinstance(value, (str, Path)):
            if not Path(value).exists():
                raise FileNotFoundError(f"{train} returned {key}={str(value)!r}, but there is no"
                                        f" such file; write it before you return its path")
            _keep_file(key, Path(value), folder)
        elif hasattr(value, "savefig"):
            value.savefig(folder / f"{key}.png")
        else:
            try:
                metrics[key] = float(value)
            except (TypeError, ValueError):
                raise TypeError(f"{train} returned {key}={value!r:.80}; return a number, the path "
                                f"of a file or a figure") from None
            if not re.fullmatch(r"[\w.\- /:]+", key):
                raise ValueError(f"{train} returned {key!r}, which MLflow takes for no metric's "
                                 f"name; use letters, digits, _ and -")
    given = ", ".join(metrics) or "no number"
    if not wanted and len(metrics) != 1:
        raise ValueError(f"{train} returned {given}; name the metric to optimise: "
                         f"search(…, metric={next(iter(metrics), 'accuracy')!r})")
    for name in wanted or metrics:
        if name not in metrics:
            raise ValueError(f"{train} returned {given}, but not the metric {name!r}; "
                             f"return it, or name another: search(…, metric=…)")
        if not math.isfinite(metrics[name]):
            raise ValueError(f"{train} returned {name}={metrics[name]}; a metric to optimise must "
                             f"be a finite number")
    return metrics


def _keep_file(key: str, path: Path, folder: Path) -> None:
    """Copy a file or a folder to the trial's own folder, unless it is there already."""
    if folder.resolve() not in path.resolve().parents:
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        place = folder if not (folder / path.name).exists() else folder / key
        place.mkdir(exist_ok=True)
        copy(path, place / path.name)


def seed_all(seed: int) -> None:
    """Seed every generator that is loaded; workers that were forked start from the same state."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def takes_trial(train: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter called `trial`."""
    return "trial" in inspect.signature(train).parameters


def name_of(train: Callable[..., Any]) -> str:
    """Return the name by which a user knows a function."""
    return getattr(getattr(train, "func", train), "__qualname__", type(train).__qualname__)


def main() -> None:
    """Serve the launcher at the other end of the file descriptor that the command line names."""
    serve(int(sys.argv[1]))
