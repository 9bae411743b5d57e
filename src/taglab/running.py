"""Which runs of this machine have lost their process: one small file for each run that is open.

Its process holds a lock on the file, which the kernel releases when the process ends, however it
ends. So no process id has to be compared, which another process may have by then.
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = "running"  # in the state folder

_held: set[Path] = set()  # a lock is of the whole process, and so is this


@dataclass(frozen=True)
class Marker:
    """The file of a run whose process is gone.

    python: the interpreter of that process, which can import MLflow.
    """

    path: Path
    run_id: str
    uri: str  # of the store that holds the run
    python: str


@contextlib.contextmanager
def marked(state: Path, run_id: str, uri: str) -> Iterator[None]:
    """Mark a run as open for as long as the body runs; without a mark where none can be made."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a full disk, or one without locks
            folder = state / FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{os.uname().nodename}-{os.getpid()}-{run_id}"
            draft = path.with_name(f".{path.name}")
            file = stack.enter_context(draft.open("w", encoding="utf-8"))
            stack.callback(_release, path, draft)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _held.add(path)
            json.dump({"run_id": run_id, "uri": uri, "python": sys.executable}, file)
            file.flush()
            draft.rename(path)  # nobody finds it without its lock
        yield


def _release(path: Path, draft: Path) -> None:
    path.unlink(missing_ok=True)
    draft.unlink(missing_ok=True)
    _held.discard(path)


def lost_runs(state: Path) -> Iterator[Marker]:
    """Yield the runs of this machine whose process is gone, each locked against other callers.

    Who has dealt with one removes its file.
    """
    for path in sorted((state / FOLDER).glob(f"{os.uname().nodename}-*")):
        if path in _held:  # opening and closing it would release the lock
            continue
        # OSError: its process is alive, or the file is gone; the others: a power cut emptied it.
        with contextlib.suppress(OSError, ValueError, TypeError), path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:  # nobody has removed it since
                yield Marker(path, **json.load(file))


def has_marker(state: Path, run_id: str) -> bool:
    """Return whether a run has a file of its own."""
    return any((state / FOLDER).glob(f"*-{run_id}"))
