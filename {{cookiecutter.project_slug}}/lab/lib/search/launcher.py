"""The loop of a search: it gives trials to worker processes, hears from them and records."""

import contextlib
import inspect
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from typing import Any

import cloudpickle
import mlflow
import optuna
from tqdm import tqdm

from . import worker
from .plan import Plan, SearchError
from .runs import Journal, Record, Runs, now
from .shared import BEAT, Queue
from .worker import FAILED, FINISHED, PRUNED, name_of

# What tells numeric libraries, and joblib, how many cores are theirs.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "LOKY_MAX_CPU_COUNT")


class Launcher:
    """Runs the trials that wait, as many at once as there are workers."""

    def __init__(
        self, plan: Plan, journal: Journal, runs: Runs, queue: Queue, pool: "Pool"
    ) -> None:
        self._plan, self._journal, self._runs = plan, journal, runs
        self._queue, self._pool = queue, pool
        self._free = deque(range(plan.workers))
        self._running: dict[int, tuple[Record, optuna.Trial]] = {}  # by slot
        self._ended: deque[tuple[Record, optuna.Trial]] = deque()  # and not yet logged
        self._counts = Counter(record.state for record in journal.ended.values())
        self._best = min((record.values for record in journal.ended.values()
                          if record.state == FINISHED), key=plan.loss, default=[])
        terminal = getattr(sys.stdout, "terminal", None)
        self._bar = tqdm(total=plan.trials, initial=len(journal.ended), unit="trial",
                         file=terminal, disable=terminal is None)

    def run(self) -> None:
        """Run the trials that wait, to the end of the last one."""
        started, following = self._started(), None
        # Points that are known wait for no result: a run is made before a worker is free for it.
        ahead = self._plan.points is not None and not self._queue.shared
        while True:
            while self._free and (following := following or next(started, None)):
                self._give(self._free.popleft(), *following)
                following = None
            if ahead:
                following = following or next(started, None)
            late = not self._running or len(self._ended) > self._plan.workers
            if self._ended and (late or not self._pool.spoke()):
                self._log(*self._ended[0])
            elif self._running:
                for slot, message in self._pool.events(BEAT if self._queue.shared else None):
                    self._hear(slot, message)
                self._queue.beat(trial for _, trial in self._running.values())
            else:
                return

    def _started(self) -> Iterator[tuple[Record, optuna.Trial]]:
        """Give each trial that waits its run, unless an earlier search has finished it."""
        for number, trial in self._queue.ask():
            points = self._plan.points
            record = Record(number, trial.params if points is None else points[number])
            if earlier := self._runs.earlier(record):
                self._end(record, trial, **earlier)
            else:
                self._runs.start(record)
                yield record, trial

    def _give(self, slot: int, record: Record, trial: optuna.Trial) -> None:
        """Give a trial to a free worker."""
        self._running[slot] = record, trial
        self._queue.beat([trial])
        self._pool.send(slot, {
            "number": record.number, "folder": self._journal.files(record.number),
            "metrics": self._plan.metrics, "seed": (self._plan.seed + record.number) % 2**32,
            "params": self._plan.params(record.point),
            "environment": {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
                            "MLFLOW_RUN_ID": record.run_id}})

    def _hear(self, slot: int, message: Any) -> None:
        """Answer a report, end a trial, or try the trial of a dead worker once more."""
        if slot not in self._running:  # a worker died that had nothing to do
            return
        record, trial = self._running[slot]
        match message:
            case (value, step):
                if self._plan.pruner and step not in record.reports:
                    trial.report(value, step)
                record.reports.setdefault(step, value)
                self._pool.send(slot, bool(self._plan.pruner) and trial.should_prune())
                return
            case int() if record.attempts == 1:
                record.attempts += 1
                self._give(slot, record, trial)
                return
            case int() as code:
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
                message = {"state": FAILED, "error": f"the worker process died twice, of {how}"}
        del self._running[slot]
        self._free.append(slot)
        self._end(record, trial, **message)
        self._ended.append((record, trial))

    def _end(self, record: Record, trial: optuna.Trial, **came_out: Any) -> None:
        """Let a trial have ended."""
        vars(record).update(came_out, ended=now())
        self._journal.add(record)
        # A shared queue knows last: until then, others run the trial if this process dies.
        if not self._queue.shared:
            self._queue.tell(trial, record)
        self._show(record)

    def _log(self, record: Record, trial: optuna.Trial) -> None:
        self._runs.end(record)
        if self._queue.shared:
            self._queue.tell(trial, record)
        self._ended.popleft()

    def _show(self, record: Record) -> None:
        """Show how the search goes: in a terminal's one line, else in a line more."""
        self._counts[record.state] += 1
        if record.state == FINISHED:
            self._best = min(self._best or record.values, record.values, key=self._plan.loss)
        self._bar.set_postfix_str(
            f"{len(self._running)} running, {self._counts[FAILED]} failed, {self._counts[PRUNED]}"
            f" pruned, best {', '.join(f'{value:.4g}' for value in self._best)}", refresh=False)
        self._bar.update()
        if self._bar.disable:
            words = [f"{name} {value:.4g}" for name, value in record.metrics.items()]
            print(f"trial {record.number} {record.state} {' '.join(words)}".rstrip(),
                  f"({self._counts.total()}/{self._plan.trials})", flush=True)

    def close(self) -> None:
        """Leave the terminal's line."""
        self._bar.close()


class Pool:
    """Processes that run trials: `send` a trial to a slot, and read what `events` says of it.

    A worker that dies is replaced. When the pool is closed, or its process dies, all end.
    """

    def __init__(self, train: Callable[..., Any], workers: int) -> None:
        pickled = _pickled(train)
        affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        threads = str(max(1, len(affinity(0)) // workers))
        self._control, theirs = Pipe()
        # In a session of its own: Ctrl-C is for the launcher, and one signal ends them all.
        self._server = subprocess.Popen(
            [sys.executable, "-P", worker.__file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], start_new_session=True,
            env={**dict.fromkeys(THREADS, threads), **os.environ})
        theirs.close()
        self._connections: dict[int, Connection] = {}
        with contextlib.suppress(OSError):  # a server that died says why in `events`
            self._control.send((sys.path, pickled))
            for slot in range(workers):
                self._fork(slot)

    def _fork(self, slot: int) -> None:
        self._connections[slot], theirs = Pipe()
        self._control.send(slot)
        send_handle(self._control, theirs.fileno(), self._server.pid)
        theirs.close()

    def send(self, slot: int, message: Any) -> None:
        """Send a worker something; one that has died meanwhile is an event soon."""
        with contextlib.suppress(OSError):
            self._connections[slot].send_bytes(cloudpickle.dumps(message))

    def spoke(self) -> bool:
        """Return whether there is an event already."""
        return bool(wait([*self._connections.values(), self._control], 0))

    def events(self, seconds: float | None = None) -> Iterator[tuple[int, Any]]:
        """Wait; yield the slot and message of each worker that spoke, the exit code of one dead."""
        said = wait([*self._connections.values(), self._control], seconds)
        for slot, connection in list(self._connections.items()):
            if connection in said:
                try:
                    yield slot, connection.recv()
                except (EOFError, OSError):
                    del self._connections[slot]
        if self._control in said:
            try:
                dead = self._control.recv()
            except (EOFError, OSError):
                raise SearchError("the server of the workers was killed; was memory short?"
                                  ) from None
            if isinstance(dead, str):
                raise SearchError(f"the training function cannot be loaded in a worker:\n{dead}")
            slot, code = dead
            self._fork(slot)
            yield slot, code

    def close(self) -> None:
        """End every worker, and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


def _pickled(train: Callable[..., Any]) -> bytes:
    try:
        return cloudpickle.dumps(train)
    except Exception as error:
        outside = {}
        with contextlib.suppress(TypeError):
            names = inspect.getclosurevars(train)
            outside = {**names.globals, **names.nonlocals}
        culprits = [name for name, value in outside.items() if not _can_pickle(value)]
        raise SearchError(
            f"{name_of(train)} cannot be sent to worker processes: {error}. Make"
            f" {', '.join(culprits) or 'open files, locks and connections'} inside it") from None


def _can_pickle(value: Any) -> bool:
    try:
        return bool(cloudpickle.dumps(value))
    except Exception:
        return False
