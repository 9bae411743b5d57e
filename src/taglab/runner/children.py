"""Finds and ends every process that a step started, even one that left its session or was orphaned.

This needs Linux's /proc and `adopt_orphans`. Elsewhere only the step's process group is known.
"""
from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

MARK = "LAB_STEP"  # the variable that tells which step a process belongs to
_MARKED = re.compile(rb"(?:^|\0)" + MARK.encode() + rb"=([^\0]*)")
_PROC = Path("/proc")
_SET_CHILD_SUBREAPER = 36  # of prctl


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that is orphaned (Linux: subreaper)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Children:
    """The children of this process, looked up once for all threads that want to know them.

    A step looks for its processes several times, and each time all children must be read: one look
    for each of many steps would take time by the square of their number.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.looks = 0  # how often they were read
        self._found: dict[int, tuple[int, bytes]] = {}

    def look(self) -> dict[int, tuple[int, bytes]]:
        """Return each child with its session and its mark, as they were after this was called."""
        looks = self.looks
        with self._lock:
            if self.looks == looks:  # else a look has begun since, and is over
                self.looks += 1
                self._found = {pid: (_session(pid), _mark(pid)) for pid in _children(os.getpid())}
            return self._found


class ProcessTree:
    """The processes of one step: those in its shell's session, those marked, and their children."""

    def __init__(self, shell: int, mark: str, children: Children) -> None:
        self._shell, self._mark, self._children = shell, mark.encode(), children

    def alive(self) -> set[int]:
        """Return the ids of the processes that have not ended."""
        found: set[int] = set()
        for child, (session, mark) in self._children.look().items():
            if session == self._shell or mark == self._mark:
                if child == self._shell or not _has_ended(child):
                    found |= {child, *_descendants(child)}
        return found

    def send_to_group(self, signum: int) -> None:
        """Send a signal to those in the process group of the shell, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._shell, signum)

    def send_outside_group(self, signum: int) -> None:
        """Send a signal to those that have left the process group of the shell."""
        _send(signum, {pid for pid in self.alive() if _group(pid) != self._shell})

    def kill(self) -> None:
        """Kill all of them, and what they start in the meantime."""
        self.send_to_group(signal.SIGKILL)
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
    tasks = f"{_PROC}/{pid}/task"  # a runner has thousands of threads: no pathlib here
    with suppress(OSError):  # it has ended
        for task in os.listdir(tasks):
            with suppress(OSError), open(f"{tasks}/{task}/children", "rb") as file:
                yield from map(int, file.read().split())


def _descendants(pid: int) -> Iterator[int]:
    """Yield the children of a process, their children and so on: as many levels as there are."""
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            yield child
            waiting.append(child)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _mark(pid: int) -> bytes:
    """Return the mark of the step that a process belongs to, or b""."""
    found = _MARKED.search(_environment(pid))
    return found[1] if found else b""


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
