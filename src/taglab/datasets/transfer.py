"""Receives files in the cache: in parallel, going on where it was stopped, verified at the end."""

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar

from taglab.datasets.lock import DataError
from taglab.datasets.objects import Cache
from taglab.datasets.places import NoPackage, Place, Unreachable, status_of

WORKERS = 8
_TRIES = 3
_CHUNK = 1 << 20
Item = TypeVar("Item")


class Stopped(Exception):
    """Another transfer has failed, or the user has had enough."""


@dataclass(frozen=True)
class Wanted:
    """A file to receive, and the places that may have it, as (address, key), the best first.

    name: for messages. size: bytes, None where it is not known.
    """

    name: str
    sha256: str
    size: int | None
    sources: Sequence[tuple[str, str]]


class Progress:
    """Counts bytes; shows them on one line of a terminal, and nothing elsewhere."""

    def __init__(self, what: str, size: int) -> None:
        self._what, self._size, self._done, self._shown = what, size, 0, 0.0
        self._lock = threading.Lock()
        self.stop = threading.Event()

    def __call__(self, count: int) -> None:
        """Count so many bytes more. Raises Stopped once `stop` is set."""
        if self.stop.is_set():
            raise Stopped
        with self._lock:
            self._done += count
            if sys.stderr.isatty() and time.monotonic() - self._shown > 0.1:
                self._shown = time.monotonic()
                of = f" of {in_units(self._size)}" if self._size else ""
                print(f"\r{self._what}: {in_units(self._done)}{of} ", end="\033[K",
                      file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            print("\r", end="\033[K", file=sys.stderr, flush=True)


def in_units(size: int) -> str:
    """Return a number of bytes for a person: 52.4 MB."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def in_parallel(work: Callable[[Item], None], items: Iterable[Item], progress: Progress) -> None:
    """Call `work` for each item, several at once; the first failure, or Ctrl-C, stops all."""
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for done in [pool.submit(work, item) for item in items]:
                done.result()
        except BaseException:
            progress.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def fetch(cache: Cache, wanted: Wanted, place_at: Callable[[str], Place],
          progress: Progress) -> None:
    """Have a file in the cache, from the first place that has it. Raises DataError.

    A file of another content is refused; what is received of a right one stays for the next time.
    """
    problems = []
    with cache.part(wanted.sha256) as part:
        if cache.has(wanted.sha256, wanted.size):
            Path(part.name).unlink()
            return
        resumed, sources = part.seek(0, 2) > 0, [*wanted.sources]
        for address, key in sources:
            try:
                place = place_at(address)
                digest = receive(cache, part, place, key, progress, wanted.size)
            except (OSError, NoPackage) as error:
                problems.append(f"{address}: {error}")
                continue
            if digest == wanted.sha256:
                cache.keep(part, digest)
                return
            part.truncate(0)
            if resumed:  # the beginning may be of something else
                sources.append((address, key))
            else:
                problems.append(f"{address} holds other data than the commit names")
            resumed = False
        if not part.seek(0, 2):
            Path(part.name).unlink()
    raise DataError(f"{wanted.name} cannot be had: {'; '.join(problems) or 'no store is named'}. "
                    "On a machine that has it, type: lab data push")


def receive(cache: Cache, part: FileIO, place: Place, key: str, progress: Progress,
            size: int | None = None, version: str = "") -> str:
    """Go on receiving a file in a part, and return its SHA-256.

    Of what is longer than `size`, no more is received. Raises OSError where the place fails, again
    and again where that makes sense, and DataError where the cache cannot be written.
    """
    for number in range(_TRIES):
        try:
            return _receive(cache, part, place, key, progress, size, version)
        except OSError as error:
            status = status_of(error)
            if status == 416:  # nothing comes behind what is here, which is not the file
                part.truncate(0)
            final = isinstance(error, (FileNotFoundError, IsADirectoryError, PermissionError))
            if final or number + 1 == _TRIES or (400 <= status < 500 and status not in (416, 429)):
                raise
            time.sleep(number + 1)
    raise AssertionError  # the last try returns or raises


def _receive(cache: Cache, part: FileIO, place: Place, key: str, progress: Progress,
             size: int | None, version: str) -> str:
    digest, here = hashlib.sha256(), 0
    part.seek(0)
    for chunk in _chunks(part.read):
        digest.update(chunk)
        here += len(chunk)
    if here == size and here:
        return digest.hexdigest()
    with place.read(key, here, version) as reply:
        if reply.start != here:
            part.truncate(0)
            digest, here = hashlib.sha256(), 0
        for chunk in _chunks(reply.stream.read):
            digest.update(chunk)
            cache.write(part, chunk)
            here += len(chunk)
            progress(len(chunk))
            if size is not None and here > size:
                return ""
        if reply.size is not None and here < reply.size:
            raise Unreachable(f"the connection ended after {here} of {reply.size} bytes")
    return digest.hexdigest()


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(_CHUNK):
        yield chunk
