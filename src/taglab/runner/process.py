"""Runs a step as a process and writes its output, with secrets masked, to the build's log."""
from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from taglab.disk import reason
from taglab.engines.drone.script import ENTRYPOINT, step_script
from taglab.errors import LabError
from taglab.masking import Mask
from taglab.runner.children import MARK, Children, ProcessTree

_LONGEST_PIECE = 1024 * 1024  # bytes; a longer line is forwarded in pieces of about this size
_SCRIPT = "DRONE_SCRIPT"
_GRACE_PERIOD = 10.0  # seconds between SIGTERM and SIGKILL


class StepError(LabError):
    """A step could not be started; the message says why."""


class Log:
    """A build's log, in which every line begins with the name of the step that printed it.

    When it cannot be written, to a full disk for instance, output is lost and `failure` says why.
    """

    def __init__(self, path: Path) -> None:
        self.failure = ""
        self._path, self._file = path, path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, step: str, text: bytes) -> None:
        """Append one or more lines, adding the last line's end if it is missing."""
        if text:
            prefix = f"[{step}] ".encode(errors="backslashreplace") if step else b""
            body = prefix + text.removesuffix(b"\n").replace(b"\n", b"\n" + prefix) + b"\n"
            with self._lock:
                self._append(memoryview(body))

    def say(self, text: str = "", step: str = "") -> None:
        """Append a message from the runner itself."""
        self.write(step, f"{text}\n".encode(errors="backslashreplace"))

    def check(self) -> None:
        """Find out whether the file is still where it was; a step may have removed it."""
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
                return
        except FileNotFoundError:
            pass
        self.failure = "a step has removed the log of the build"

    def _append(self, body: memoryview) -> None:
        try:
            while body:
                body = body[self._file.write(body):]
        except OSError as error:  # go on reading, or the step would block on a full pipe
            self.failure = f"the log could not be written: {reason(error)}"


class Processes:
    """The running steps of a pipeline, which can be stopped together."""

    def __init__(self, children: Children | None = None) -> None:
        self.stopped = False
        self._children = children or Children()
        self._deadline = 0.0
        self._running: set[ProcessTree] = set()
        self._lock = threading.Lock()

    def run(self, commands: Iterable[str], folder: Path, variables: Mapping[str, str],
            write: Callable[[bytes], None], mask: Mask = Mask(())) -> int:
        """Run a step's commands in `folder` and return their exit code.

        Their output goes to `write` while they run: masked, and in whole lines. Processes that
        they leave in the background are killed when they end, as in a container. Raises StepError.
        """
        mark = os.urandom(16).hex()
        environment = {**variables, MARK: mark, _SCRIPT: step_script(commands)}
        with self._lock:
            if self.stopped:
                return 137
            try:
                process = subprocess.Popen(
                    ENTRYPOINT, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            except (OSError, ValueError) as error:
                raise StepError(why_not_started(environment, error)) from error
            tree = ProcessTree(process.pid, mark, self._children)
            self._running.add(tree)
        ended = threading.Event()
        reader = threading.Thread(target=_forward, args=(process.stdout, write, mask, ended),
                                  daemon=True)
        reader.start()
        code = process.wait()
        while self.stopped and tree.alive() and monotonic() < self._deadline:
            sleep(0.05)  # its children may still be shutting down
        tree.kill()
        with self._lock:
            self._running.remove(tree)
        reader.join(timeout=5)  # a process that escaped the tree may keep the pipe open
        ended.set()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Send SIGTERM to all steps and their children, and let no other step start.

        Returns at once; whatever is still running after the grace period is killed.
        """
        with self._lock:
            if self.stopped:
                return
            self._deadline = monotonic() + _GRACE_PERIOD
            self.stopped = True
            running = list(self._running)
        for tree in running:
            tree.send_to_group(signal.SIGTERM)
        if running:  # looking for other processes takes longer, and many pipelines may be stopped
            threading.Thread(target=self._end, args=(running,), daemon=True).start()

    def _end(self, running: Iterable[ProcessTree]) -> None:
        """Send SIGTERM to processes outside the shell's group, and later kill what still runs."""
        for tree in running:
            tree.send_outside_group(signal.SIGTERM)
        sleep(max(0.0, self._deadline - monotonic()))
        with self._lock:
            left = list(self._running)
        for tree in left:
            tree.kill()


def why_not_started(environment: Mapping[str, str], error: Exception) -> str:
    """Return why a step with this environment could not be started, and what to change."""
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            return (f"the environment variable {name!r} cannot be set: a name is not empty and "
                    "holds no `=`, and neither name nor value holds a zero byte")
    if environment and isinstance(error, OSError) and error.errno == errno.E2BIG:
        sizes = {name: len(value.encode(errors="surrogatepass"))
                 for name, value in environment.items()}
        largest = max(sizes, key=lambda name: sizes[name])
        what = "its commands have" if largest == _SCRIPT else f"the variable {largest} has"
        return (f"{what} {sizes[largest]} bytes, more than a process can be given on this machine. "
                "Put long text into a file of the repository, and keep a commit's message short")
    return str(error)


def _forward(output: IO[bytes], write: Callable[[bytes], None], mask: Mask,
             ended: threading.Event) -> None:
    """Write the output in whole lines, masked; a long line is never split inside a secret."""
    begun = b""  # a line that has not ended yet
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
