"""Finds and ends every process that a step started, even one that left its session or was orphaned.

This needs Linux's /proc and `adopt_orphans`. Elsewhere only the step's process group is known.
"""
from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

MARK = "LAB_STEP"  # the variable that tells which step a process belongs to
_PROC = Path("/proc")
_SET_CHILD_SUBREAPER = 36  # of prctl


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that is orphaned (Linux: subreaper)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class ProcessTree:
    """The processes of one step: those in its shell's session, those marked, and their children."""

    def __init__(self, shell: int, mark: str) -> None:
        self._shell, self._mark = shell, f"{MARK}={mark}\0".encode()

    def alive(self) -> set[int]:
        """Return the ids of the processes that have not ended."""
        found: set[int] = set()
        for child in _children(os.getpid()):
            if _session(child) == self._shell or self._mark in _environment(child):
                if child == self._shell or not _has_ended(child):
                    found |= {child, *_descendants(child)}
        return found

    def send(self, signum: int) -> None:
        """Send a signal to all of them."""
        try:
            os.killpg(self._shell, signum)
        except (ProcessLookupError, PermissionError):
            pass
        _send(signum, self.alive())

    def kill(self) -> None:
        """Kill all of them, and what they start in the meantime."""
        self.send(signal.SIGKILL)
        _kill_until_none_is_left(self.alive)


def kill_descendants() -> None:
    """Kill all descendants of this process, without reaping any that a caller may wait for."""
    _kill_until_none_is_left(lambda: {pid for pid in _descendants(os.getpid())
                                      if not _has_ended(pid, os.WNOWAIT)})


def kill_processes_with(variable: str) -> None:
    """Kill every other process on this machine whose environment holds `variable`, NAME=VALUE."""
    text = f"{variable}\0".encode()
    _kill_until_none_is_left(lambda: {int(path.name) for path in _PROC.glob("[0-9]*")
                                      if text in _environment(int(path.name))} - {os.getpid()})


def _kill_until_none_is_left(find: Callable[[], set[int]]) -> None:
    deadline = monotonic() + 5  # a process that hangs in the kernel cannot be killed
    while (pids := find()) and monotonic() < deadline:
        _send(signal.SIGKILL, pids)
        sleep(0.01)


def _send(signum: int, pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            pass


def _children(pid: int) -> Iterator[int]:
    for file in _PROC.glob(f"{pid}/task/*/children"):
        try:
            yield from map(int, file.read_text().split())
        except OSError:  # it has ended
            pass


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


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
    """Return whether a child has ended; if so, reap it, unless `options` say WNOWAIT."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | options) is not None
    except ChildProcessError:
        return False
