"""Files by their content, one folder for all labs of a user.

    objects/12/1234…     a file, named after its SHA-256, read-only
    views/1234…/NAME     the same under its own name, or a folder: hard links to objects
    parts/               what is being received

Whatever writes to a file moves its time of change, which every object has set to one second of
2001. So a file that a process has changed is found by looking, and only such a file is read again.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path

from taglab.ci import read_build
from taglab.datasets.lock import DataError, File
from taglab.disk import reason

_STAMP = 1_000_000_000 * 10**9  # nanoseconds
_OLD = 7 * 24 * 60 * 60  # seconds after which nobody resumes a download


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the cache: LAB_DATA; in a build LAB_STATE/data; else the user's own."""
    if folder := environment.get("LAB_DATA"):
        return Path(os.path.abspath(folder))
    state = environment.get("LAB_STATE", "")
    if state and "://" not in state and read_build(environment).number:
        return Path(state, "data")
    try:
        return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache", "taglab", "data")
    except RuntimeError as error:
        raise DataError("this user has no home folder, where data would be kept. "
                        "Type: export LAB_DATA=FOLDER") from error


class Cache:
    """The files of a folder. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def object(self, sha256: str) -> Path:
        """Return where the file of a SHA-256 is, or would be."""
        return self.folder / "objects" / sha256[:2] / sha256

    def has(self, sha256: str, size: int | None) -> bool:
        """Return whether a file is here and right; one that was changed is read, and removed.

        Where its size is not known, it is read in any case.
        """
        path = self.object(sha256)
        if _is_untouched(path, size):
            return True
        with contextlib.suppress(FileNotFoundError):
            if hash_of(path) == sha256:
                _stamp(path)
                return True
            path.unlink()
        return False

    @contextlib.contextmanager
    def part(self, key: str) -> Iterator[FileIO]:
        """Open the file in which something is received; one process at a time, others wait.

        What is left of a download is there again at the next time.
        """
        path = self.folder / "parts" / key
        with self._full_disk_named():
            path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with self._full_disk_named():
                file = FileIO(path, "a+")
            with file:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                if _is_still_at(file, path):  # nobody has kept it meanwhile
                    yield file
                    return

    def write(self, part: FileIO, chunk: bytes) -> None:
        """Write to a part; where the disk is full, remove it, and raise DataError."""
        try:
            with self._full_disk_named():
                rest = memoryview(chunk)
                while rest:
                    rest = rest[part.write(rest):]
        except DataError:
            os.unlink(part.name)
            raise

    def keep(self, part: FileIO, sha256: str) -> None:
        """Make a part that is whole the file of its SHA-256."""
        target = self.object(sha256)
        with self._full_disk_named():
            target.parent.mkdir(parents=True, exist_ok=True)
            _stamp(Path(part.name))
            os.replace(part.name, target)

    def keep_bytes(self, content: bytes) -> str:
        """Keep some bytes as a file, and return their SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        with self.part(digest) as part:
            part.truncate(0)
            self.write(part, content)
            self.keep(part, digest)
        return digest

    def view(self, name: str, sha256: str, files: Sequence[File], is_folder: bool) -> Path:
        """Return a path that ends in `name` and holds these files, all of which `has` found here.

        Of a folder, also nothing else is in it.
        """
        root = self.folder / "views" / sha256 / name
        if _is_whole(root, files, is_folder):
            return root
        with self._full_disk_named():
            (self.folder / "parts").mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(dir=self.folder / "parts"))
            try:
                for each in files:
                    path = draft / "new" / each.path if is_folder else draft / "new"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _link(self.object(each.sha256), path)
                root.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    root.rename(draft / "old")
                with contextlib.suppress(OSError):  # another process was quicker
                    (draft / "new").rename(root)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        if not _is_whole(root, files, is_folder):
            raise DataError(f"{root} is changed while it is made; look which process writes to it")
        return root

    def tidy(self) -> None:
        """Remove what is left of downloads that nobody has gone on with for a week."""
        for path in (self.folder / "parts").glob("*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _OLD:
                    path.unlink()

    @contextlib.contextmanager
    def _full_disk_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
            raise DataError(f"the cache of data, {self.folder}, cannot be written: "
                            f"{reason(error, there)}. Make space or mend that, and type: "
                            "lab data get") from error


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_still_at(file: FileIO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _stamp(path: Path) -> None:
    path.chmod(0o444)
    os.utime(path, ns=(_STAMP, _STAMP))


def _is_untouched(path: Path, size: int | None) -> bool:
    with contextlib.suppress(OSError):
        found = path.stat()
        return (found.st_size, found.st_mtime_ns) == (size, _STAMP)
    return False


def _is_whole(root: Path, files: Sequence[File], is_folder: bool) -> bool:
    if not is_folder:
        return _is_untouched(root, files[0].size)
    return (all(_is_untouched(root / each.path, each.size) for each in files)
            and sum(len(names) for _, _, names in os.walk(root)) == len(files))


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it where the file system has no links, or no more for this file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
