"""Adds data to the cache, has it there, and sends it to the store that all clones share."""

import functools
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from taglab.datasets.lock import (
    DataError, Entry, File, Lock, check_address, check_name, manifest_text, parse_manifest)
from taglab.datasets.objects import Cache, hash_of
from taglab.datasets.places import Folder, Place, is_url, local_path, place_at
from taglab.datasets.transfer import Progress, Wanted, fetch, in_parallel, in_units, receive


def add(lab: Path, lock: Lock, cache: Cache, address: str, name: str, now: datetime) -> Entry:
    """Have what is at an address, a URL or an absolute path, in the cache, and return its entry.

    What has not changed keeps the entry that it has. Raises DataError.
    """
    check_address(address)
    name = name or address.partition("?")[0].rstrip("/").rpartition("/")[2]
    check_name(name)
    cache.tidy()
    old = lock.entries.get(name)
    entry = Entry(name, address, "", 0, now.replace(microsecond=0))
    try:
        if is_url(address):
            new = _add_url(lab, cache, entry)
        else:
            path = local_path(address, lab)
            if path.is_relative_to(lab):
                address = path.relative_to(lab).as_posix()
            known = {each.sha256 for each in files_of(cache, old) or []} if old else set()
            new = _add_path(cache, path, replace(entry, address=address), known)
    except OSError as error:
        raise DataError(f"{address} cannot be read: {error}") from error
    return old if old and replace(new, added=old.added) == old else new


def have(lab: Path, lock: Lock, cache: Cache, entries: Sequence[Entry]) -> int:
    """Have entries in the cache, whole and right; return how many bytes were received.

    Raises DataError, which names the entry and every address that was tried.
    """
    places: Callable[[str], Place] = functools.cache(lambda address: place_at(address, lab))
    cache.tidy()
    with Progress("receiving", 0) as progress:
        for entry in entries:
            _have_manifest(lab, lock, cache, entry, places, progress)
    missing = {}
    for entry in entries:
        for file in files_of(cache, entry) or []:
            if not cache.has(file.sha256, file.size):
                name = f"{entry.name}/{file.path}" if entry.files else entry.name
                key = file.path if entry.files else ""
                local = not (entry.files and is_url(entry.address))
                missing[file.sha256] = Wanted(name, file.sha256, file.size, [
                    *_stored(lock, file.sha256), *([(entry.address, key)] if local else [])])
    size = sum(each.size or 0 for each in missing.values())
    with Progress("receiving", size) as progress:
        in_parallel(lambda wanted: fetch(cache, wanted, places, progress), missing.values(),
                    progress)
    return size


def push(cache: Cache, store: Place, entries: Sequence[Entry]) -> int:
    """Send what the store lacks of entries; return how many bytes. Raises DataError."""
    sent: list[int] = []
    wanted: dict[str, File] = {}
    for entry in entries:
        files = files_of(cache, entry)
        if files is None or not all(cache.has(each.sha256, each.size) for each in files):
            raise DataError(f"{entry.name} is not on this machine, or not all of it. "
                            f"Type: lab data get {entry.name!r}")
        wanted |= {each.sha256: each for each in files}

    def send(file: File) -> None:
        key, path = key_of(file.sha256), cache.object(file.sha256)
        there = store.info(key)
        if there is None or there.size != file.size:
            store.write(key, path)
            progress(file.size)
            sent.append(file.size)

    size = sum(each.size for each in wanted.values())
    manifests = [File(each.name, each.sha256, cache.object(each.sha256).stat().st_size)
                 for each in entries if each.files]
    try:
        with Progress("sending", size) as progress:
            in_parallel(send, wanted.values(), progress)
            in_parallel(send, manifests, progress)  # where one is, the files are
    except OSError as error:
        raise DataError(f"the store cannot be written: {error}") from error
    return sum(sent)


def files_of(cache: Cache, entry: Entry) -> list[File] | None:
    """Return the files of an entry, or None where the manifest of a folder is not here."""
    if not entry.files:
        return [File(entry.name, entry.sha256, entry.size)]
    if not cache.has(entry.sha256, None):
        return None
    files = parse_manifest(cache.object(entry.sha256).read_bytes())
    if (len(files), sum(each.size for each in files)) != (entry.files, entry.size):
        raise DataError(f"the files of {entry.name} are not as many or as large as the commit says")
    return files


def files_below(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, sorted. Raises DataError for what is no file."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in folders + names:
            path = Path(place, name)
            mode = path.stat().st_mode
            if path.is_symlink() and stat.S_ISDIR(mode) or not (
                    stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise DataError(f"{path} is no file: a folder of data holds files and folders, and "
                                "links to files. Move it away")
            if stat.S_ISREG(mode):
                found.append(path.relative_to(folder).as_posix())
    if not found:
        raise DataError(f"{folder} holds no file")
    return sorted(found)


def manifest_of(folder: Path) -> bytes:
    """Return the manifest of a folder of this machine."""
    return manifest_text([File(path, hash_of(folder / path), (folder / path).stat().st_size)
                          for path in files_below(folder)])


def summary(entry: Entry) -> str:
    """Return the size of an entry for a person: 40.0 MB in 2,000 files."""
    return in_units(entry.size) + (f" in {entry.files:,} files" if entry.files else "")


def key_of(sha256: str) -> str:
    """Return the key of a file in a store; a cache lays out its objects in the same way."""
    return f"{sha256[:2]}/{sha256}"


def _add_url(lab: Path, cache: Cache, entry: Entry) -> Entry:
    if entry.address.endswith("/"):
        raise DataError(f"{entry.address} is a folder; only a folder of this machine can be added")
    place = place_at(entry.address, lab)
    with place.read("") as reply:  # for the version: what was received of another is no use
        version, size = reply.version, reply.size or 0
    with (cache.part(hashlib.sha256(f"{entry.address}\n{version}".encode()).hexdigest()) as part,
          Progress(f"receiving {entry.name}", size) as progress):
        if not version:
            part.truncate(0)
        digest = receive(cache, part, place, "", progress, version=version)
        size = part.seek(0, 2)
        cache.keep(part, digest)
    return replace(entry, sha256=digest, size=size)


def _add_path(cache: Cache, path: Path, entry: Entry, known: Collection[str]) -> Entry:
    is_folder = path.is_dir()
    names = files_below(path) if is_folder else [""]
    files: list[File] = []
    with Progress(f"adding {entry.name}", 0) as progress:
        in_parallel(lambda name: files.append(_add_file(cache, path / name, name, known, progress)),
                    names, progress)
    size = sum(each.size for each in files)
    if not is_folder:
        return replace(entry, sha256=files[0].sha256, size=size)
    return replace(entry, sha256=cache.keep_bytes(manifest_text(files)), size=size,
                   files=len(files))


def _add_file(cache: Cache, path: Path, name: str, known: Collection[str],
              progress: Progress) -> File:
    if known:
        digest, size = hash_of(path), path.stat().st_size
        if digest in known and cache.has(digest, size):
            return File(name, digest, size)
    with cache.part(f"add-{os.getpid()}-{threading.get_ident()}") as part:
        try:
            part.truncate(0)
            digest = receive(cache, part, Folder(path), "", progress)
            size = part.seek(0, 2)
            cache.keep(part, digest)
        finally:
            Path(part.name).unlink(missing_ok=True)  # where that failed
    return File(name, digest, size)


def _have_manifest(lab: Path, lock: Lock, cache: Cache, entry: Entry,
                   places: Callable[[str], Place], progress: Progress) -> None:
    if not entry.files or cache.has(entry.sha256, None):
        return
    if not is_url(entry.address) and (folder := local_path(entry.address, lab)).is_dir():
        manifest = manifest_of(folder)
        if hashlib.sha256(manifest).hexdigest() == entry.sha256:
            cache.keep_bytes(manifest)
            return
    fetch(cache, Wanted(entry.name, entry.sha256, None, _stored(lock, entry.sha256)), places,
          progress)


def _stored(lock: Lock, sha256: str) -> list[tuple[str, str]]:
    return [(lock.store, key_of(sha256))] if lock.store else []


def _raise(error: OSError) -> None:
    raise error
