"""The launcher's end of the worker processes."""

import contextlib
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from typing import Any

import cloudpickle

from .plan import SearchError
from .worker import name_of

# What tells numeric libraries, and joblib, how many cores are theirs.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "LOKY_MAX_CPU_COUNT")


class Pool:
    """Processes that run trials: `send` a trial to a slot, and read what `events` says of it.

    A worker that dies is replaced. When the pool is closed, or its process dies, all end.
    """

    def __init__(self, train: Callable[..., Any], workers: int) -> None:
        pickled = _pickled(train)
        threads = str(max(1, _cores() // workers))
        self._control, theirs = Pipe()
        code = (f"import sys; sys.path[:] = {sys.path!r}\n"
                f"from lib.search.worker import serve; serve({theirs.fileno()})")
        # In a session of its own: Ctrl-C is for the launcher, and one signal ends them all.
        self._server = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[theirs.fileno()], start_new_session=True,
            env={**dict.fromkeys(THREADS, threads), **os.environ})
        theirs.close()
        self._connections: dict[int, Connection] = {}
        with contextlib.suppress(OSError):  # a server that died says why in `events`
            self._control.send_bytes(pickled)
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


def _cores() -> int:
    """Return how many cores this process may use."""
    cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return len(cores(0))
