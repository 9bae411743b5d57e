"""What must outlive a killed process, and goes when the run of `start_run` has finished."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_kept: ContextVar[dict[str, Callable[[], None]] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def kept_until_finished() -> Iterator[Callable[[], None]]:
    """Collect what `keep` is given in the body; yields a function that removes all of it."""
    kept: dict[str, Callable[[], None]] = {}

    def remove_all() -> None:
        for name in list(kept):
            kept.pop(name)()

    token = _kept.set(kept)
    try:
        yield remove_all
    finally:
        _kept.reset(token)


def keep(name: str, remove: Callable[[], None]) -> None:
    """Call `remove` when the run has finished; at once outside of `start_run`."""
    kept = _kept.get()
    if kept is None:
        remove()
    else:
        kept[name] = remove


def remove_kept(name: str) -> None:
    """Remove what is kept under a name now, if anything is."""
    (_kept.get() or {}).pop(name, lambda: None)()
