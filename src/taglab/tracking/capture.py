"""What a process prints, kept in a file and still shown live."""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def captured(log: Path) -> Iterator[None]:
    """Copy all that is printed to `log`, also by C code and by the processes this one starts.

    `tee` does the copying: a thread of this process would stop whenever C code holds the
    interpreter while it prints. Where standard output and standard error go to the same
    place, they share one `tee`, so their order is kept. `sys.stdout.terminal` is where a line can
    be shown that changes and is not kept: the terminal itself, or None.
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
        # Line by line, so that the order holds and a pipe shows it live; and pytest and
        # notebooks put streams here that do not lead to file descriptor 1.
        for number, redirect in ((1, contextlib.redirect_stdout),
                                 (2, contextlib.redirect_stderr)):
            stream = open(number, "w", buffering=1, encoding="utf-8",
                          errors="backslashreplace", closefd=False)
            stream.terminal = terminal
            stack.enter_context(redirect(stack.enter_context(stream)))
        yield


@contextlib.contextmanager
def _copied(numbers: tuple[int, ...], log: Path) -> Iterator[None]:
    """Send file descriptors through `tee -a log` to where they went before."""
    sys.stdout.flush()
    sys.stderr.flush()
    # In a session of its own: Ctrl-C and a killed terminal end this process, not its `tee`.
    tee = subprocess.Popen(["tee", "-a", str(log)], stdin=subprocess.PIPE, stdout=numbers[0],
                           start_new_session=True)
    kept = {number: os.dup(number) for number in numbers}
    for number in numbers:
        os.dup2(tee.stdin.fileno(), number)
    tee.stdin.close()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)  # what C code printed and still holds in its buffers
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)
        # Usually some milliseconds; a worker process that lives on holds its end open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            tee.wait(timeout=1)
