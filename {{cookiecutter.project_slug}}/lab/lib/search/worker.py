"""The processes that run trials: a server that loads the training function, and its workers.

The server is a clean Python that loads the function once, where no thread and no numeric library
has run, and forks a worker whenever it is told to: so a fork is safe, and takes milliseconds.
"""

import contextlib
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
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import cloudpickle

FINISHED, FAILED, PRUNED = "FINISHED", "FAILED", "KILLED"  # as MLflow calls the states of a run


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
    """Load the function, fork workers, tell which died; the end of the launcher is the end."""
    try:
        with contextlib.suppress(EOFError, OSError):
            _serve(Connection(handle))
    finally:
        os.killpg(0, signal.SIGKILL)  # this process, the workers, and what they started


def _serve(control: Connection) -> None:
    sys.path[:], pickled = control.recv()
    try:
        train = cloudpickle.loads(pickled)
    except BaseException:
        return control.send(traceback.format_exc())
    workers: dict[int, tuple[int, Any]] = {}
    while True:
        for ready in wait([control, *workers]):
            if ready is control:
                slot, connection = control.recv(), Connection(recv_handle(control))
                worker = multiprocessing.get_context("fork").Process(
                    target=_work, args=(train, connection, control))
                worker.start()
                connection.close()
                workers[worker.sentinel] = slot, worker
            else:
                slot, worker = workers.pop(ready)
                worker.join()
                control.send((slot, worker.exitcode))


def _work(train: Callable[..., Any], connection: Connection, control: Connection) -> None:
    """Run the trials that come, until no more can come."""
    control.close()
    faulthandler.enable()
    with contextlib.suppress(EOFError):
        while True:
            task = cloudpickle.loads(connection.recv_bytes())
            connection.send(run_trial(train, connection, **task))


def run_trial(
    train: Callable[..., Any], connection: Connection, number: int, folder: Path,
    params: dict[str, Any], metrics: list[str], seed: int, environment: dict[str, str],
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


if __name__ == "__main__":
    serve(int(sys.argv[1]))
