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

from taglab.engines.drone.script import ENTRYPOINT, step_script
from taglab.runner.children import MARK, Family
from taglab.runner.secrets import Mask

_LONGEST_PIECE = 1024 * 1024  # a longer line is passed on in pieces of about this size
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL


class Log:
    """A build's log: every line begins with the name of the step that printed it.

    All of it is kept. What a full disk does not take is lost, and `failure` says why.
    """

    def __init__(self, path: Path) -> None:
        self.failure = ""
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, step: str, text: bytes) -> None:
        """Append whole lines. `text` may hold many; its last line is ended where it is not."""
        if text:
            prefix = f"[{step}] ".encode(errors="backslashreplace") if step else b""
            body = prefix + text.removesuffix(b"\n").replace(b"\n", b"\n" + prefix) + b"\n"
            with self._lock:
                self._append(memoryview(body))

    def say(self, text: str = "", step: str = "") -> None:
        """Append a text of the runner's own."""
        self.write(step, f"{text}\n".encode(errors="backslashreplace"))

    def _append(self, body: memoryview) -> None:
        try:
            while body:
                body = body[self._file.write(body):]
        except OSError as error:  # the step must not wait for somebody to read what it prints
            self.failure = f"the log could not be written: {error.strerror}"


class Processes:
    """The running steps of a pipeline, which can be ended together."""

    def __init__(self) -> None:
        self.stopped = False
        self._deadline = 0.0
        self._running: set[Family] = set()
        self._lock = threading.Lock()

    def run(self, commands: Iterable[str], folder: Path, variables: Mapping[str, str],
            write: Callable[[bytes], None], mask: Mask = Mask(())) -> int:
        """Run a step's commands in `folder` and return their exit code.

        What they print goes to `write`, masked, as whole lines while they run; what they leave
        behind in the background ends with them, as in a container.
        """
        mark = os.urandom(16).hex()
        script = step_script(commands)
        with self._lock:
            if self.stopped:
                return 137
            process = subprocess.Popen(
                ENTRYPOINT, cwd=folder, env={**variables, MARK: mark, "DRONE_SCRIPT": script},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True)
            family = Family(process.pid, mark)
            self._running.add(family)
        ended = threading.Event()
        reader = threading.Thread(target=_pass_on, args=(process.stdout, write, mask, ended),
                                  daemon=True)
        reader.start()
        code = process.wait()
        while self.stopped and family.alive() and monotonic() < self._deadline:
            sleep(0.05)  # its children may be ending properly
        family.end()
        with self._lock:
            self._running.remove(family)
        reader.join(timeout=5)  # longer only where a process has hidden its origin
        ended.set()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Ask all steps and their children to end, and let no other start.

        Returns at once; what has not ended after the time of grace is killed.
        """
        with self._lock:
            if self.stopped:
                return
            self._deadline = monotonic() + _GRACE
            self.stopped = True
            for family in self._running:
                family.send(signal.SIGTERM)
        killer = threading.Timer(_GRACE, self._kill)
        killer.daemon = True
        killer.start()

    def _kill(self) -> None:
        with self._lock:
            running = list(self._running)
        for family in running:
            family.end()


def _pass_on(output: IO[bytes], write: Callable[[bytes], None], mask: Mask,
             ended: threading.Event) -> None:
    """Write what can be read, as masked whole lines; no secret is cut where a long line is."""
    begun = b""  # of a line
    with output:
        while (chunk := os.read(output.fileno(), 65536)) and not ended.is_set():
            end = chunk.rfind(b"\n") + 1
            if end:
                write(mask(begun + chunk[:end]))
                begun = chunk[end:]
            else:
                begun += chunk
            if len(begun) > _LONGEST_PIECE:
                end = mask.safe_end(begun)
                write(mask(begun[:end]))
                begun = begun[end:]
        write(mask(begun))
