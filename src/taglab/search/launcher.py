"""The launcher: hands trials to worker processes and records how they end."""

import contextlib
import inspect
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
from tqdm import tqdm

from taglab.search.errors import SearchError
from taglab.search.journal import Journal, TrialRecord
from taglab.search.messages import (
    FAILED, PRUNED, LoadFailed, Outcome, Report, Reports, Result, Task, WorkerDied)
from taglab.search.objective import Choices, name_of
from taglab.search.plan import Plan
from taglab.search.queue import HEARTBEAT, POLL, TrialQueue
from taglab.search.runs import TrialRuns
from taglab.search.space import Point
from taglab.tracking.quick_mlflow import mlflow

# How many cores numeric libraries, and joblib, use.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "LOKY_MAX_CPU_COUNT")
# By module name and not as a file, so that `Pruned` is one class for workers and users.
_SERVE = "import sys; sys.path[:] = {path!r}; from taglab.search.server import main; main()"


class Launcher:
    """Runs waiting trials, as many at a time as there are workers."""

    def __init__(self, plan: Plan, journal: Journal, runs: TrialRuns, queue: TrialQueue) -> None:
        self._plan, self._journal, self._runs, self._queue = plan, journal, runs, queue
        self._running: dict[int, TrialRecord] = {}  # by number
        self._unlogged: deque[TrialRecord] = deque()  # trials that have ended
        self._counts = Counter(record.state for record in journal.ended.values())
        self._best: list[float] = min(
            (record.values for record in journal.ended.values() if record.can_be_best),
            key=plan.losses, default=[])
        terminal = getattr(sys.stdout, "terminal", None)
        self._bar = tqdm(total=plan.trials, initial=len(journal.ended), unit="trial",
                         file=terminal, disable=terminal is None)
        self._server, self._control = start_server(plan)

    def run(self) -> None:
        """Run waiting trials until none is left and the last one is logged."""
        upcoming: TrialRecord | None = None
        # Where the point is certain, the next run is started before a worker is free for it.
        prefetch = not self._queue.shared and not self._plan.asynchronous
        while True:
            while len(self._running) < self._plan.workers and (
                    upcoming := upcoming or self._start_next()):
                self._dispatch(upcoming)
                upcoming = None
            if prefetch:
                upcoming = upcoming or self._start_next()
            if not self._running and not self._unlogged:
                if not self._queue.must_wait:
                    return
                time.sleep(POLL)  # for trials of other processes
            # Logging can wait while workers have something to say, but not for too long.
            behind = len(self._unlogged) > self._plan.workers
            if self._unlogged and (behind or not self._control.poll()):
                self._log(self._unlogged[0])
            elif self._control.poll(POLL if self._queue.must_wait else HEARTBEAT):
                self._receive()
            self._queue.send_heartbeats()

    def end_lost(self) -> None:
        """End, as failed, the trials that no process runs again, since two that ran them died."""
        for record in self._queue.lost_twice():
            if record.number not in self._journal.ended:
                self._runs.adopt(record)
                record.end(Outcome(FAILED, error="two processes that ran this trial died"))
                self._end(record)
                self._unlogged.append(record)

    def losses(self, generation: list[Point]) -> list[float]:
        """Run the new points of a generation; return the loss of each point, less is better."""
        numbers = self._plan.add_points(generation)
        self._queue.fill(len(self._plan.points or []), self._journal.ended)
        self.run()
        ended = [self._journal.ended[number] for number in numbers]
        return [self._plan.losses(each.values)[0] if each.can_be_best else math.inf
                for each in ended]

    def _start_next(self) -> TrialRecord | None:
        """Start the run of the next trial, unless it has finished before; return None for none."""
        while record := self._queue.ask():
            finished = self._runs.find_finished(record)
            if finished is None:
                self._runs.start(record)
                return record
            self._end(finished)
            self._queue.tell(finished)
        return None

    def _dispatch(self, record: TrialRecord) -> None:
        """Send a trial to a worker."""
        self._running[record.number] = record
        self._send(record, Task(
            record.number, record.point, self._journal.files(record.number), self._plan.metrics,
            seed=(self._plan.seed + record.number) % 2**32,
            environment={"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
                         "MLFLOW_RUN_ID": record.run_id},
            asks=self._plan.pruner is not None))

    def _send(self, record: TrialRecord, message: Task | bool) -> None:
        with contextlib.suppress(OSError):  # a server that has died is noticed in `_receive`
            self._control.send((record.number, message))

    def _receive(self) -> None:
        """Receive one message from the server and act on it."""
        number: int | None
        message: Result | LoadFailed
        try:
            number, message = self._control.recv()
        except (EOFError, OSError):
            number, message = None, LoadFailed("its process was killed; did memory run out?")
        if isinstance(message, LoadFailed):
            raise SearchError(f"the training function cannot be loaded in a worker:\n"
                              f"{message.traceback}")
        record = None if number is None else self._running.get(number)
        if record is None:  # a worker died while idle
            return
        if isinstance(message, Report):
            self._send(record, self._queue.report(record, message))
        elif isinstance(message, Reports):
            record.reports |= {step: value for step, value in message.values.items()
                               if step not in record.reports}
        elif isinstance(message, Outcome):
            self._finish(record, message)
        elif record.attempts == 1:
            record.attempts += 1
            self._dispatch(record)
        else:
            self._finish(record, Outcome(
                FAILED, error=f"the worker process died twice, of {cause(message)}"))

    def _finish(self, record: TrialRecord, outcome: Outcome) -> None:
        del self._running[record.number]
        record.end(outcome)
        self._end(record)
        self._unlogged.append(record)

    def _end(self, record: TrialRecord) -> None:
        """Write a trial that has ended to the journal, and show it."""
        self._journal.add(record)
        # A shared queue is told in `_log`: until then another process takes over a lost trial.
        if not self._queue.shared:
            self._queue.tell(record)
        self._counts[record.state] += 1
        if record.can_be_best:
            self._best = min(self._best or record.values, record.values, key=self._plan.losses)
        self._show(record)

    def _show(self, record: TrialRecord) -> None:
        """Show a trial that has ended: in the bar of a terminal, else as a line of the log."""
        self._bar.set_postfix_str(
            f"{len(self._running)} running, {self._counts[FAILED]} failed, {self._counts[PRUNED]}"
            f" pruned, best {', '.join(f'{value:.4g}' for value in self._best)}", refresh=False)
        self._bar.update()
        if self._bar.disable:
            words = [f"{name} {value:.4g}" for name, value in record.metrics.items()]
            print(f"trial {record.number} {record.state} {' '.join(words)}".rstrip(),
                  f"({self._counts.total()}/{self._plan.trials})", flush=True)

    def _log(self, record: TrialRecord) -> None:
        was = record.state
        self._runs.end(record)
        if record.refused:
            self._counts[was] -= 1
            self._counts[FAILED] += 1
            tqdm.write(f"trial {record.number} FAILED: {record.error}")
        self._queue.tell(record)
        self._unlogged.popleft()

    def close(self) -> None:
        """Kill the workers and everything that they started."""
        self._bar.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


def cause(death: WorkerDied) -> str:
    """Return what a worker died of, in words."""
    code = death.exit_code
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def start_server(plan: Plan) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start the server of the workers; return it and the connection to it.

    Raises SearchError when the training function cannot be sent to another process.
    """
    pickled = _pickle(plan.train, plan.choices)
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    threads = str(max(1, len(affinity(0)) // plan.workers))
    control, theirs = Pipe()
    # In its own session: Ctrl-C reaches the launcher only, and one signal ends all the rest.
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVE.format(path=sys.path), str(theirs.fileno())],
        pass_fds=[theirs.fileno()], start_new_session=True,
        env={**dict.fromkeys(THREADS, threads), **os.environ})
    theirs.close()
    with contextlib.suppress(OSError):
        control.send((pickled, plan.workers))
    return server, control


def _pickle(train: Callable[..., Any], choices: Choices) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps((train, choices))
        return pickled
    except Exception as error:
        used = dict[str, Any](choices)
        if inspect.isfunction(train):
            names = inspect.getclosurevars(train)
            used |= {**names.globals, **names.nonlocals}
        culprits = [name for name, value in used.items() if not _can_pickle(value)]
        raise SearchError(
            f"{name_of(train)} cannot be sent to worker processes: {error}. Create"
            f" {', '.join(culprits) or 'open files, locks and connections'} inside it") from None


def _can_pickle(value: Any) -> bool:
    try:
        return bool(cloudpickle.dumps(value))
    except Exception:
        return False
