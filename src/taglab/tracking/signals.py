"""Signals that ask a process to end. They wait for database writes, so that its runs can end too.

Relies on the names of the modules through which MLflow 3.17.2 writes to a database: each has
`sqlalchemy` in it, as in mlflow.store.tracking.sqlalchemy_store.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_held = False  # a signal's handler is of the whole process, and so is this


class Interrupted(SystemExit):
    """A signal asked this process to end; the exit status is 128 plus its number, as in a shell."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Turn SIGTERM and SIGHUP into `Interrupted` and SIGINT into KeyboardInterrupt, between writes.

    An unfinished write would leave SQLite locked. Signals that already have a handler keep it.
    Yields a function that ignores these signals from then on, so that clean-up is not disturbed.
    """
    before = {number: signal.getsignal(number)
              for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
              if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
              and threading.current_thread() is threading.main_thread()}

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _held or _is_writing(frame):  # send it again a little later
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        ignore()
        raise Interrupted(128 + number)

    def ignore() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back the signals that `interruptible` handles until the body has ended."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False


def _is_writing(frame: FrameType | None) -> bool:
    """Return whether SQLAlchemy, or MLflow's store on top of it, is on the stack of a frame."""
    while frame and "sqlalchemy" not in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return frame is not None
