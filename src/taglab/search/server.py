"""The server of a search's workers: loads the training function once and forks the workers.

The server is a new Python process without threads or numeric libraries, so forking it is safe and
takes milliseconds.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import cloudpickle

from taglab.search.messages import LoadFailed, Outcome, Result, Task, WorkerDied
from taglab.search.objective import Choices
from taglab.search.worker import run_trials


def main() -> None:
    """Serve the launcher on the file descriptor that the command line names."""
    serve(int(sys.argv[1]))


def serve(descriptor: int) -> None:
    """Load the function, run the workers and pass messages on until the launcher has gone."""
    try:
        with contextlib.suppress(EOFError, OSError):
            control = Connection(descriptor)
            pickled, workers = control.recv()
            try:
                train, choices = cloudpickle.loads(pickled)
            except BaseException:
                return control.send((None, LoadFailed(traceback.format_exc())))
            pool = Pool(train, choices, control)
            while True:
                pool.fork_up_to(workers)
                pool.pass_on()
    finally:
        os.killpg(0, signal.SIGKILL)  # this process, its workers and what they started


class Pool:
    """The workers, each with its connection, and the launcher's connection."""

    def __init__(self, train: Callable[..., Any], choices: Choices, control: Connection) -> None:
        self._train, self._choices, self._control = train, choices, control
        self._processes: dict[Connection, BaseProcess] = {}
        self._busy: dict[int, Connection] = {}  # by the number of the trial

    def fork_up_to(self, workers: int) -> None:
        """Fork until there are so many workers."""
        while len(self._processes) < workers:
            ours, theirs = multiprocessing.Pipe()
            self._processes[ours] = multiprocessing.get_context("fork").Process(
                target=run_trials, args=(self._train, self._choices, theirs, self._control))
            self._processes[ours].start()
            theirs.close()

    def pass_on(self) -> None:
        """Wait for one message and pass it on, to a worker or to the launcher."""
        ready = wait([self._control, *self._processes])[0]
        if ready is self._control:
            self._to_worker(*self._control.recv())
        else:
            assert isinstance(ready, Connection)
            self._to_launcher(ready)

    def _to_worker(self, number: int, message: Task | bool) -> None:
        if isinstance(message, Task):
            self._busy[number] = next(
                each for each in self._processes if each not in self._busy.values())
        with contextlib.suppress(OSError, KeyError):  # the worker has died
            self._busy[number].send(message)

    def _to_launcher(self, ready: Connection) -> None:
        number = next((number for number, each in self._busy.items() if each is ready), None)
        message: Result
        try:
            message = ready.recv()
        except (EOFError, OSError):
            process = self._processes.pop(ready)
            process.join()
            message = WorkerDied(process.exitcode or 0)
        if number is not None and isinstance(message, (Outcome, WorkerDied)):
            del self._busy[number]
        self._control.send((number, message))
