"""Where the data of a `data.lock` is, and whether its addresses still hold it."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from taglab.datasets.entries import files_below, files_of, key_of, manifest_of, summary
from taglab.datasets.lock import DataError, Entry, Lock
from taglab.datasets.objects import Cache, hash_of
from taglab.datasets.places import Place, is_url, local_path, place_at

AS_ADDED, CHANGED, NEWER, GONE = "as added", "changed", "newer", "gone"


@dataclass(frozen=True)
class State:
    """Where an entry is.

    here: whether the cache of this machine has it, whole and right.
    stored: whether the store has it; None where that is not known.
    address: what its address holds: as added, changed, newer, gone, or why it was not reached.
    """

    name: str
    size: int
    files: int
    here: bool
    stored: bool | None
    address: str
    source: str

    def __str__(self) -> str:
        """Return what a person wants to know."""
        if not self.here:
            words = [f"missing: type lab data get {self.name!r}"]
        elif self.stored is None:
            words = ["here", "the store was not reached"]
        elif self.stored:
            words = ["here and in the store"]
        else:
            words = ["here" if is_url(self.source) else "only on this machine: type lab data push"]
        if self.address != AS_ADDED and (is_url(self.source) or self.address != GONE):
            words.append(f"its address {self.source}: {self.address}")
        return "; ".join(words)


def states(lab: Path, lock: Lock, cache: Cache, entries: Sequence[Entry]) -> list[State]:
    """Return the state of each entry; the store and the addresses are asked at the same time."""
    places: Callable[[str], Place] = functools.cache(lambda address: place_at(address, lab))

    def state(entry: Entry) -> State:
        files = files_of(cache, entry)
        here = files is not None and all(cache.has(each.sha256, each.size) for each in files)
        return State(entry.name, entry.size, entry.files, here, stored(entry),
                     _address(entry, lab, places), entry.address)

    def stored(entry: Entry) -> bool | None:
        try:  # the manifest of a folder is sent last
            return bool(lock.store) and places(lock.store).info(key_of(entry.sha256)) is not None
        except (OSError, DataError):
            return None

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(state, entries))


def status_text(found: Sequence[State], entries: Sequence[Entry]) -> str:
    """Return a table for a terminal."""
    sizes = [summary(each) for each in entries]
    names, widths = [each.name for each in entries], max(map(len, sizes), default=0)
    width = max(map(len, names), default=0)
    return "\n".join(f"{state.name:{width}}  {size:>{widths}}  {state}"
                     for state, size in zip(found, sizes))


def _address(entry: Entry, lab: Path, places: Callable[[str], Place]) -> str:
    try:
        if not is_url(entry.address):
            return _at_path(entry, local_path(entry.address, lab))
        info = places(entry.address).info("")
    except (OSError, DataError) as error:
        return f"not reached ({error})"
    if info is None:
        return GONE
    if info.size not in (None, entry.size):
        return CHANGED
    return NEWER if (info.changed or 0) > entry.added.timestamp() + 1 else AS_ADDED


def _at_path(entry: Entry, path: Path) -> str:
    """Compare a path of this machine; it is read only where a file is newer than the entry."""
    if not path.exists():
        return GONE
    if path.is_dir() != bool(entry.files):
        return CHANGED
    found = [(path / name).stat() for name in (files_below(path) if entry.files else [""])]
    if (sum(each.st_size for each in found), len(found)) != (entry.size, entry.files or 1):
        return CHANGED
    if all(max(each.st_mtime, each.st_ctime) < entry.added.timestamp() for each in found):
        return AS_ADDED
    digest = hashlib.sha256(manifest_of(path)).hexdigest() if entry.files else hash_of(path)
    return AS_ADDED if digest == entry.sha256 else CHANGED
