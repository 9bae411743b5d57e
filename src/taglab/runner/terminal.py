"""What the terminal of a push is told about builds, which go on without it."""
from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


def going_on(numbers: Sequence[int]) -> str:
    """Return the sentence that says how to follow and how to stop builds that go on."""
    *others, last = map(str, numbers)
    names = f"builds {', '.join(others)} and {last} go" if others else f"build {last} goes"
    return (f"{names} on without this terminal. To follow it: lab logs {numbers[0]} --follow; "
            f"to stop it: lab cancel {numbers[0]}")


def tell_terminal(text: str) -> None:
    """Print a line on the terminal itself, or to stderr where there is none.

    After Ctrl-C in a push, git has ended and forwards nothing more.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # the shell has taken the terminal back
    with suppress(OSError):
        try:
            terminal = open("/dev/tty", "w", encoding="utf-8")
        except OSError:
            terminal = open(sys.stderr.fileno(), "w", encoding="utf-8", closefd=False)
        with terminal:
            terminal.write(f"\n{text}\n")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let neither Ctrl-C nor a closed terminal end this process or a git that it starts."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def be_disturbed() -> None:
    """Take back `undisturbed` in a process that was forked inside it: steps inherit this."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
