"""What must outlive a killed process, and goes when the run of `start_run` has finished."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

End = Callable[[bool], None]  # takes whether the run has finished

_kept: ContextVar[dict[str, End] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def kept_until_finished() -> Iterator[Callable[[], None]]:
    """Collect what `keep` is given in the body; yields a function to call when it has finished."""
    kept: dict[str, End] = {}

    def end_all(finished: bool = True) -> None:
        for name in list(kept):
            kept.pop(name)(finished)

    token = _kept.set(kept)
    try:
        yield end_all
    finally:
        _kept.reset(token)
        end_all(False)


def keep(name: str, end: End) -> None:
    """Call `end` once the run has ended: with True if it finished, which outside of it is now."""
    kept = _kept.get()
    if kept is None:
        end(True)
    else:
        kept[name] = end


def remove_kept(name: str) -> None:
    """Remove what is kept under a name now, if anything is."""
    kept = _kept.get() or {}
    if end := kept.pop(name, None):
        end(True)
