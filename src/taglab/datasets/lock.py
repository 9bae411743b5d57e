"""`data.lock`: the data that the processes of a commit read, a line for each.

    [data]
    "prices.csv" = { address = "https://…", sha256 = "…", size = 52428800, added = 2026-11-26T… }

It is TOML. A line for each lets git merge what two people added; of two lines for one name, TOML
refuses the second.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from taglab.errors import LabError

FILE = "data.lock"
_HEAD = """\
# The data of this commit, a line for each. `lab data` writes this file; a process reads the data
# at taglab.datasets.path("NAME").
"""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64})  ([0-9]{1,18})  (.+)")  # of a manifest


class DataError(LabError):
    """Data that cannot be had or kept; the message says which, why and what to type."""


@dataclass(frozen=True)
class File:
    """A file by its content; `path` is relative to the folder that holds it, with slashes."""

    path: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Entry:
    """A file or a folder that processes read by its name.

    address: where it came from, a URL or a path; a relative one is relative to the lab.
    sha256: of the file, or of the manifest of the folder.
    size: bytes, in all.
    added: in UTC, to the second.
    files: in the folder, at least 1; 0 for a file.
    """

    name: str
    address: str
    sha256: str
    size: int
    added: datetime
    files: int = 0


@dataclass(frozen=True)
class Lock:
    """What a `data.lock` says; `store` is the address that `lab data push` sends to, or ""."""

    store: str = ""
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        """Return the entry of a name. Raises DataError, which lists the known ones."""
        if name not in self.entries:
            known = ", ".join(self.entries) or "nothing"
            raise DataError(f"{FILE} does not name {name!r}; it names {known}. "
                            f"Type: lab data add PATH-OR-URL --name {name!r}")
        return self.entries[name]


def read_lock(lab: Path) -> Lock:
    """Return what the `data.lock` of a lab says; no file says nothing. Raises DataError."""
    try:
        return parse_lock((lab / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{lab / FILE} cannot be read: {error}") from error


def write_lock(lab: Path, lock: Lock) -> None:
    """Write the `data.lock` of a lab, all of it or nothing."""
    draft = lab / f".{FILE}.{os.getpid()}"
    try:
        draft.write_text(lock_text(lock), encoding="utf-8")
        draft.replace(lab / FILE)
    finally:
        draft.unlink(missing_ok=True)


def parse_lock(text: str) -> Lock:
    """Return what the text of a `data.lock` says. Raises DataError, which says what is wrong."""
    try:
        found = tomllib.loads(text)
        table, store = found.pop("data", {}), found.pop("store", "")
        if found or not isinstance(table, dict) or not isinstance(store, str):
            raise ValueError("it may hold store = \"ADDRESS\" and a table [data], and nothing else")
        entries = [_entry(name, values) for name, values in table.items()]
        if store:
            check_address(store)
    except (ValueError, RecursionError, OverflowError, DataError) as error:
        raise DataError(f"{FILE}: {error}. Mend it: one line for each name, and no marks of a "
                        "merge") from error
    return Lock(store, {each.name: each for each in entries})


def lock_text(lock: Lock) -> str:
    """Return the text of a `data.lock`, sorted by name."""
    lines = [f"store = {_quoted(lock.store)}\n", "\n"] if lock.store else []
    lines += ["[data]\n"]
    for each in sorted(lock.entries.values(), key=lambda entry: entry.name):
        files = f"files = {each.files}, " if each.files else ""
        lines += [f"{_quoted(each.name)} = {{ address = {_quoted(each.address)}, "
                  f'sha256 = "{each.sha256}", size = {each.size}, {files}'
                  f"added = {each.added.isoformat(timespec='seconds')[:19]}Z }}\n"]
    return _HEAD + "".join(lines)


def check_name(name: str) -> None:
    """Raise DataError for a word that is no name of data."""
    if not re.fullmatch(r"\w[\w .-]*", name) or name.endswith(" ") or len(name.encode()) > 200:
        raise DataError(f"{name[:80]!r} cannot be a name of data: it may hold letters, digits, "
                        "blanks and _ . -, begins with a letter or a digit, and has no slash. "
                        "Type: lab data add PATH-OR-URL --name NAME")


def check_address(address: str) -> None:
    """Raise DataError for an address that cannot stand in `data.lock`."""
    if not address or _UNPRINTABLE.search(address):
        raise DataError(f"{address[:200]!r} is no address: it is empty or holds a control "
                        "character")
    try:
        parts = urlsplit(address)
        secret = "://" in address and parts.password is not None
    except ValueError as error:
        raise DataError(f"{address[:200]!r} is no address: {error}") from error
    if secret:
        raise DataError(f"the address at {parts.hostname} holds a password, which everybody could "
                        "read in the commit; name it without")


def manifest_text(files: Sequence[File]) -> bytes:
    """Return the manifest of a folder: a line SHA256, SIZE, PATH for each file, sorted by path.

    Its SHA-256 is that of the folder. Raises DataError for a path that cannot stand in it.
    """
    for each in files:
        _check_path(each.path)
    return "".join(f"{each.sha256}  {each.size}  {each.path}\n"
                   for each in sorted(files, key=lambda file: file.path)).encode()


def parse_manifest(text: bytes) -> list[File]:
    """Return the files of a manifest. Raises DataError for one that no folder can have."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"a manifest of a folder is no text: {error}") from error
    files = []
    for line in lines[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(f"a manifest of a folder has a wrong line: {line[:200]!r}")
        _check_path(match[3])
        files.append(File(match[3], match[1], int(match[2])))
    paths = {each.path for each in files}
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if len(paths) < len(files) or paths & folders:
        raise DataError("a manifest of a folder names a path twice")
    return files


def _check_path(path: str) -> None:
    if {"", ".", ".."} & {*path.split("/")} or _UNPRINTABLE.search(path):
        raise DataError(f"{path[:200]!r} cannot be the path of a file in a folder of data: it "
                        "leaves the folder or holds a control character. Rename it")


def _entry(name: str, values: Any) -> Entry:
    """Return an entry from its table. Raises ValueError or DataError."""
    check_name(name)
    kinds = {"address": str, "sha256": str, "size": int, "files": int, "added": datetime}
    if not isinstance(values, dict) or not (
            kinds.keys() - {"files"} <= values.keys() <= kinds.keys()):
        raise ValueError(f"{name} must have address, sha256, size and added")
    wrong = [key for key, value in values.items() if type(value) is not kinds[key]]
    if wrong or values["added"].tzinfo is None:
        raise ValueError(f"{name}: {[*wrong, 'added'][0]} is of another type")
    added = values["added"].astimezone(timezone.utc).replace(microsecond=0)
    entry = Entry(name, **{**values, "added": added})
    check_address(entry.address)
    if not _SHA256.fullmatch(entry.sha256):
        raise ValueError(f"{name}: sha256 must be 64 digits, 0 to f")
    if entry.size < 0 or entry.files < 0:
        raise ValueError(f"{name}: size and files cannot be negative")
    return entry


def _quoted(text: str) -> str:
    """Return a TOML string; JSON's are, except for a character that names and addresses lack."""
    return json.dumps(text, ensure_ascii=False)
