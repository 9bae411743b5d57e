"""Work that nobody waits for: it is done before the run of `start_run` ends."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Work = Callable[[], None]

_deferred: ContextVar[tuple[str, list[Work]]] = ContextVar("deferred", default=("", []))


@contextlib.contextmanager
def deferred_work(run_id: str) -> Iterator[None]:
    """Do what `defer` is given for a run in the body once the body has ended, in whichever way."""
    work: list[Work] = []
    token = _deferred.set((run_id, work))
    try:
        yield
    finally:
        _deferred.reset(token)
        for each in work:
            each()


def defer(run_id: str, work: Work) -> None:
    """Do work before a run ends; now, where that is not the run of `start_run`."""
    running, later = _deferred.get()
    if run_id == running:
        later.append(work)
    else:
        work()
