"""Finds and ends all that a step started, also what left its session or lost its parent.

On Linux nothing gets away from `adopt_orphans`. Elsewhere only the step's process group is known.
"""
from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

MARK = "LAB_STEP"  # the variable by which a process is known as one of a step's
_PROC = Path("/proc")
_SET_CHILD_SUBREAPER = 36  # of prctl


def adopt_orphans() -> None:
    """Let each process below this one whose parent ends become a child of this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Family:
    """The processes of one step: its shell leads a session, and all carry the mark."""

    def __init__(self, shell: int, mark: str) -> None:
        self._shell, self._mark = shell, f"{MARK}={mark}\0".encode()

    def alive(self) -> set[int]:
        """Return the processes that have not ended."""
        found: set[int] = set()
        for child in _children(os.getpid()):
            if (_session(child) == self._shell or self._mark in _environment(child)) \
                    and not (child != self._shell and _has_ended(child)):
                found |= {child, *_below(child)}
        return found

    def send(self, number: int) -> None:
        """Send a signal to all of them."""
        try:
            os.killpg(self._shell, number)
        except (ProcessLookupError, PermissionError):
            pass
        _send(number, self.alive())

    def end(self) -> None:
        """Kill all of them, and those that they start meanwhile."""
        self.send(signal.SIGKILL)
        _kill_while_there_are(self.alive)


def end_all_below() -> None:
    """Kill every process that descends from this one. Whoever waits for one still learns its end.
    """
    _kill_while_there_are(lambda: {pid for pid in _below(os.getpid())
                                   if not _has_ended(pid, os.WNOWAIT)})


def end_all_with(variable: str) -> None:
    """Kill every process on this machine that was started with `NAME=VALUE`."""
    text = f"{variable}\0".encode()
    _kill_while_there_are(lambda: {int(path.name) for path in _PROC.glob("[0-9]*")
                                   if text in _environment(int(path.name))} - {os.getpid()})


def _kill_while_there_are(processes) -> None:
    deadline = monotonic() + 5  # one that the kernel holds cannot be ended
    while (pids := processes()) and monotonic() < deadline:
        _send(signal.SIGKILL, pids)
        sleep(0.01)


def _send(number: int, pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def _children(pid: int) -> Iterator[int]:
    for file in _PROC.glob(f"{pid}/task/*/children"):
        try:
            yield from map(int, file.read_text().split())
        except OSError:  # it has ended
            pass


def _below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _below(child)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _environment(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def _has_ended(pid: int, options: int = 0) -> bool:
    """Say whether a child has ended, and let the kernel forget it then, unless told otherwise."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | options) is not None
    except ChildProcessError:
        return False
