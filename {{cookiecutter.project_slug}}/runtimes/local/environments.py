"""`lab envs`: the cached environments, how large they are, and when each was used last."""
from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from local.environment import environments_folder

DAY = 24 * 60 * 60


@dataclass(frozen=True)
class CachedEnvironment:
    """One environment: its name, its size in bytes, and when it was used last."""

    name: str
    size: int
    used: float


def cached_environments() -> list[CachedEnvironment]:
    """Return this user's environments, the one used last first."""
    folder = environments_folder()
    found = [path for path in folder.iterdir() if (path / "ready").exists()] \
        if folder.exists() else []
    return sorted((CachedEnvironment(path.name, _size(path), (path / "ready").stat().st_mtime)
                   for path in found), key=lambda each: each.used, reverse=True)


def prune(days: float, now: float) -> list[CachedEnvironment]:
    """Remove the environments that were not used for so many days; return them."""
    old = [each for each in cached_environments() if now - each.used > days * DAY]
    for each in old:
        path = environments_folder() / each.name
        with path.with_name(f"{each.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # nobody makes it at this moment
            (path / "ready").unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
    return old


def _size(folder: Path) -> int:
    return sum(entry.lstat().st_size
               for parent, _, files in os.walk(folder)
               for entry in map(Path(parent).joinpath, files))
