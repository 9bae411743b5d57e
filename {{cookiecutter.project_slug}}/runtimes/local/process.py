"""Runs one step as a process and sends what it prints, masked, to the build's log."""
from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from local.script import ENTRYPOINT, step_script

_LONGEST_PIECE = 1024 * 1024  # a line without an end is passed on in pieces of this size
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL


class Log:
    """A build's log: every line begins with the name of the step that printed it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, step: str, text: bytes) -> None:
        """Append whole lines. `text` may hold many; its last line is ended where it is not."""
        if text:
            prefix = f"[{step}] ".encode() if step else b""
            body = prefix + text.removesuffix(b"\n").replace(b"\n", b"\n" + prefix) + b"\n"
            with self._lock:
                self._file.write(body)

    def say(self, text: str = "", step: str = "") -> None:
        """Append a text of the runner's own."""
        self.write(step, f"{text}\n".encode(errors="backslashreplace"))


class Processes:
    """The running steps of a build, which can be ended together."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()

    def run(self, commands: Iterable[str], folder: Path, variables: Mapping[str, str],
            write: Callable[[bytes], None]) -> int:
        """Run a step's commands in `folder` and return their exit code.

        What they print goes to `write` as whole lines while they run; what they leave behind in
        the background ends with them, as in a container.
        """
        with self._lock:
            if self.stopped:
                return 137
            process = subprocess.Popen(
                ENTRYPOINT, cwd=folder, env={**variables, "DRONE_SCRIPT": step_script(commands)},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True)
            self._running.add(process)
        reader = threading.Thread(target=_pass_on, args=(process.stdout, write), daemon=True)
        reader.start()
        code = process.wait()
        with self._lock:
            self._running.remove(process)
        _signal(process, signal.SIGKILL)
        reader.join(timeout=5)
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """End all steps and their children, first politely, and let no other start."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        deadline = monotonic() + _GRACE
        while any(process.poll() is None for process in running) and monotonic() < deadline:
            sleep(0.05)
        for process in running:
            _signal(process, signal.SIGKILL)


def _pass_on(output: IO[bytes], write: Callable[[bytes], None]) -> None:
    rest = b""
    while chunk := os.read(output.fileno(), 65536):
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            write(whole + newline)
        if len(rest) > _LONGEST_PIECE:
            write(rest)
            rest = b""
    write(rest)


def _signal(process: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
