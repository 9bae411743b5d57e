"""Signals that ask a process to end. They wait for writes to a database; then its runs can end."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


_held = False


class Interrupted(SystemExit):
    """A signal that asks this process to end; the exit status is the one a shell shows."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Turn SIGTERM and SIGHUP into `Interrupted`, SIGINT into KeyboardInterrupt, between writes.

    A half write would leave SQLite locked. Signals that something else handles are left to it.
    The function that is given makes the process deaf to the signals, so that it can tidy up.
    """
    before = {number: signal.getsignal(number)
              for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
              if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
              and threading.current_thread() is threading.main_thread()}

    def interrupt(number: int, frame: Any) -> None:
        if _held or _is_writing(frame):  # again, a little later
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
    """Let the signals wait until the body has come to its end."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False


def _is_writing(frame: Any) -> bool:
    """Say whether a frame of the stack is of SQLAlchemy, or of what stores MLflow's runs by it."""
    while frame and "sqlalchemy" not in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return frame is not None
