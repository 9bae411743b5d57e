"""The loop of a search: it gives trials to worker processes, hears from them and records."""

import contextlib
import inspect
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
from tqdm import tqdm

from taglab.search.plan import Plan, Point, SearchError
from taglab.search.runs import Journal, Record, Runs
from taglab.search.shared import BEAT, Queue
from taglab.search.worker import FAILED, FINISHED, PRUNED, name_of
from taglab.tracking.quick_mlflow import mlflow

# What tells numeric libraries, and joblib, how many cores are theirs.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "LOKY_MAX_CPU_COUNT")
# By its module's name and not as a file: `Pruned` must be the same class for workers and users.
_SERVE = "import sys; sys.path[:] = {path!r}; from taglab.search.worker import main; main()"


class Launcher:
    """Runs the trials that wait, as many at once as there are workers."""

    def __init__(self, plan: Plan, journal: Journal, runs: Runs, queue: Queue) -> None:
        self._plan, self._journal, self._runs, self._queue = plan, journal, runs, queue
        self._running: dict[int, Record] = {}  # by number
        self._ended: deque[Record] = deque()  # and not yet logged
        self._counts = Counter(record.state for record in journal.ended.values())
        self._best = min((record.values for record in journal.ended.values()
                          if record.state == FINISHED), key=plan.loss, default=[])
        terminal = getattr(sys.stdout, "terminal", None)
        self._bar = tqdm(total=plan.trials, initial=len(journal.ended), unit="trial",
                         file=terminal, disable=terminal is None)
        self._server, self._control = start_server(plan)

    def run(self) -> None:
        """Run the trials that wait, to the end of the last one."""
        started, following = self._started(), None
        # Points that are known wait for no result: a run is made before a worker is free for it.
        ahead = self._plan.points is not None and not self._queue.shared
        while True:
            while len(self._running) < self._plan.workers and (
                    following := following or next(started, None)):
                self._give(following)
                following = None
            if ahead:
                following = following or next(started, None)
            if not self._running and not self._ended:
                return
            late = len(self._ended) > self._plan.workers
            if self._ended and (late or not self._control.poll()):
                self._log(self._ended[0])
            elif self._control.poll(BEAT):
                self._hear()
            self._queue.beat()

    def losses(self, generation: list[Point]) -> list[float]:
        """Run the points of a generation, each different one once; return how bad they are."""
        points = self._plan.points
        points.extend(point for place, point in enumerate(generation)
                      if point not in points + generation[:place])
        self._queue.fill(len(points), self._journal.ended)
        self.run()
        ended = [self._journal.ended[points.index(point)] for point in generation]
        return [self._plan.loss(each.values)[0] if each.state == FINISHED else math.inf
                for each in ended]

    def _started(self) -> Iterator[Record]:
        """Give each trial that waits its run, unless it has finished already."""
        for record in self._queue.ask():
            if earlier := self._runs.earlier(record):
                self._end(record, **earlier)
                self._queue.tell(record)
            else:
                self._runs.start(record)
                yield record

    def _give(self, record: Record) -> None:
        """Give a trial to a worker."""
        self._running[record.number] = record
        self._send(record, {
            "number": record.number, "folder": self._journal.files(record.number),
            "point": record.point, "metrics": self._plan.metrics,
            "seed": (self._plan.seed + record.number) % 2**32,
            "environment": {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
                            "MLFLOW_RUN_ID": record.run_id}})

    def _send(self, record: Record, message: Any) -> None:
        with contextlib.suppress(OSError):  # a server that has died says so when it is heard
            self._control.send((record.number, message))

    def _hear(self) -> None:
        """Answer a report, end a trial, or try the trial of a dead worker once more."""
        try:
            number, message = self._control.recv()
        except (EOFError, OSError):
            number, message = None, "its process was killed; was memory short?"
        if isinstance(message, str):
            raise SearchError(f"the training function cannot be loaded in a worker:\n{message}")
        if number not in self._running:  # a worker died that had nothing to do
            return
        record = self._running[number]
        if isinstance(message, tuple):
            self._send(record, self._queue.report(record, *message))
        elif isinstance(message, int) and record.attempts == 1:
            record.attempts += 1
            self._give(record)
        else:
            if isinstance(message, int):
                how = f"signal {signal.Signals(-message).name}" if message < 0 else message
                message = {"state": FAILED, "error": f"the worker process died twice, of {how}"}
            del self._running[number]
            self._end(record, **message)
            self._ended.append(record)

    def _end(self, record: Record, **came_out: Any) -> None:
        """Let a trial have ended, and show it: in a terminal's one line, else in a line more."""
        vars(record).update({"ended": int(time.time() * 1000)} | came_out)
        self._journal.add(record)
        if not self._queue.shared:  # it waits for `_log`: others run what a process lost that died
            self._queue.tell(record)
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

    def _log(self, record: Record) -> None:
        self._runs.end(record)
        self._queue.tell(record)
        self._ended.popleft()

    def close(self) -> None:
        """End every worker, and what it started."""
        self._bar.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


def start_server(plan: Plan) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start the workers' server; return it and the connection on which it hears and speaks."""
    pickled = _pickled(plan.train, plan.choices)
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    threads = str(max(1, len(affinity(0)) // plan.workers))
    control, theirs = Pipe()
    # In a session of its own: Ctrl-C is for the launcher, and one signal ends them all.
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVE.format(path=sys.path), str(theirs.fileno())],
        pass_fds=[theirs.fileno()], start_new_session=True,
        env={**dict.fromkeys(THREADS, threads), **os.environ})
    theirs.close()
    with contextlib.suppress(OSError):
        control.send((pickled, plan.workers))
    return server, control


def _pickled(train: Callable[..., Any], choices: dict[str, list[Any]]) -> bytes:
    try:
        return cloudpickle.dumps((train, choices))
    except Exception as error:
        outside = dict(choices)
        if inspect.isfunction(train):
            names = inspect.getclosurevars(train)
            outside |= {**names.globals, **names.nonlocals}
        culprits = [name for name, value in outside.items() if not _can_pickle(value)]
        raise SearchError(
            f"{name_of(train)} cannot be sent to worker processes: {error}. Make"
            f" {', '.join(culprits) or 'open files, locks and connections'} inside it") from None


def _can_pickle(value: Any) -> bool:
    try:
        return bool(cloudpickle.dumps(value))
    except Exception:
        return False
