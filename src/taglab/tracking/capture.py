"""Copies everything that a process prints to a file, while it still appears live."""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def captured(log: Path) -> Iterator[None]:
    """Copy all output to `log`, including that of C code and of child processes.

    `tee` does the copying: a thread of this process would stall whenever C code prints while it
    holds the interpreter lock. Where standard output and standard error go to the same place,
    they share one `tee`, so their order is kept. `sys.stdout.terminal` is the terminal itself, or
    None: a progress bar that rewrites its line goes there, past the log.
    """
    log.touch()
    with contextlib.ExitStack() as stack:
        terminal = None
        if os.isatty(1):
            terminal = stack.enter_context(open(os.dup(1), "w", encoding="utf-8"))
        if os.path.sameopenfile(1, 2):
            stack.enter_context(_copied((1, 2), log))
        else:
            stack.enter_context(_copied((1,), log))
            stack.enter_context(_copied((2,), log))
        # Line-buffered, so that the order holds and a pipe shows it live. New streams, because
        # those of pytest and notebooks do not lead to file descriptors 1 and 2.
        for number, redirect in ((1, contextlib.redirect_stdout),
                                 (2, contextlib.redirect_stderr)):
            stream = open(number, "w", buffering=1, encoding="utf-8",
                          errors="backslashreplace", closefd=False)
            stream.terminal = terminal  # type: ignore[attr-defined]  # our own attribute
            stack.enter_context(redirect(stack.enter_context(stream)))
        yield


@contextlib.contextmanager
def _copied(descriptors: tuple[int, ...], log: Path) -> Iterator[None]:
    """Send file descriptors through `tee -a log` to where the first of them leads."""
    sys.stdout.flush()
    sys.stderr.flush()
    # A session of its own: Ctrl-C and a closed terminal end this process, not its `tee`.
    tee = subprocess.Popen(["tee", "-a", str(log)], stdin=subprocess.PIPE, stdout=descriptors[0],
                           start_new_session=True)
    assert tee.stdin is not None
    saved = {number: os.dup(number) for number in descriptors}
    for number in descriptors:
        os.dup2(tee.stdin.fileno(), number)
    tee.stdin.close()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)  # what C code has printed but still buffers
        for number, original in saved.items():
            os.dup2(original, number)
            os.close(original)
        # Usually a few milliseconds; a child process that lives on keeps the pipe open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            tee.wait(timeout=1)
