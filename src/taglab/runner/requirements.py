"""requirements.txt as both installers read it, its lock, and the hash that names its packages."""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taglab.errors import LabError

LOCK = "requirements.lock.txt"  # beside requirements.txt, with the hashes of all packages
UNLOCK = f"To work without hashes, type: rm -f {LOCK}"
_INCLUDE = re.compile(r"(-r|-c|--requirement|--constraint)[ =]\s*(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]\s*")
_NO_CONTENT = {".git", ".venv", "__pycache__", "build"}  # folders that a build of a package makes


def requirements_hash(lab: Path) -> str:
    """Return 12 hex digits that identify the packages in `lab`/requirements.txt, and their lock.

    Raises LabError where a file is missing, and where the lock is that of other requirements.
    """
    listed = hash_without_lock(lab)
    if not (lab / LOCK).exists():
        return listed
    content = (lab / LOCK).read_bytes()
    if listed.encode() not in content.partition(b"\n")[0]:
        raise LabError(f"{LOCK} was not written for this requirements.txt. Type: lab lock; then "
                       f"commit both. {UNLOCK}")
    return hashlib.sha256(content).hexdigest()[:12]


def hash_without_lock(lab: Path) -> str:
    """Return 12 hex digits that identify what `lab`/requirements.txt says.

    The files of a package that is a path belong to it. Raises LabError where a file is missing.
    """
    lines = []
    for line in read_requirements(lab / "requirements.txt"):
        include = _INCLUDE.match(line)
        lines += read_requirements(Path(include[2])) if include else [line]
        if path := local_path(line):
            lines.append(_content_hash(lab / path, line))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def read_requirements(file: Path, inside: tuple[Path, ...] = ()) -> list[str]:
    """Return the lines of a requirements file without comments, and those of its included files.

    Constraints stay files, by absolute path. `-e` is dropped: a commit's packages are those of the
    commit, so a folder is installed as a copy. `inside` are the files that include this one.
    Raises LabError for a file that is missing, is no text or includes itself.
    """
    if file.resolve() in inside:
        raise LabError(f"{file.name} includes itself, by way of {inside[-1].name}. Take that `-r` "
                       "line out")
    inside = (*inside, file.resolve())
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LabError(f"{file.name} is not UTF-8 text: byte {error.start} cannot be read. Save "
                       "it as UTF-8") from error
    except OSError as error:
        if len(inside) == 1:
            raise LabError(f"cannot read {file.name}: {error.strerror}") from error
        raise LabError(f"cannot read {file.name}, which {inside[-2].name} names: {error.strerror}. "
                       "Commit it, or take the line out") from error
    lines = []
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if include := _INCLUDE.match(line):
            name = file.parent / include[2]
            included = read_requirements(name, inside)
            lines += included if "r" in include[1][:3] else [f"-c {name.resolve()}"]
        elif line:
            lines.append(_EDITABLE.sub("", line))
    return lines


def named_paths(file: Path) -> list[Path]:
    """Return the files and folders that a requirements file names: what it includes, packages."""
    paths = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        line = _EDITABLE.sub("", re.sub(r"(^|\s)#.*$", "", line).strip())
        include = _INCLUDE.match(line)
        if path := include[2] if include else local_path(line):
            paths.append(file.parent / path if include else Path(path))
    return paths


def local_path(line: str) -> str:
    """Return the path of the package that a line of requirements names, or "" if it names none."""
    url = re.search(r"file:(\S+)", line)
    if url and not line.startswith("-"):
        return unquote(urlsplit(url[0]).path)
    requirement = re.split(r"\s+(?:;|--)|\[|;", line)[0].strip()
    is_path = re.match(r"\.{0,2}/|[\w.-]+/|[\w./-]+\.(?:whl|tar\.gz|zip)$", requirement)
    return requirement if is_path and "://" not in requirement else ""


def _content_hash(path: Path, line: str) -> str:
    """Return the SHA-256 of a file, or of the names and the bytes of the files in a folder."""
    if not path.exists():
        raise LabError(f"requirements.txt names {line}, which does not exist. Commit it, or take "
                       "the line out")
    content = hashlib.sha256()
    for file in [path] if path.is_file() else _package_files(path):
        content.update(f"{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
        content.update(file.read_bytes())
    return content.hexdigest()


def _package_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders
                            if name not in _NO_CONTENT and not name.endswith(".egg-info"))
        for name in sorted(files):
            if Path(parent, name).is_file():  # no socket, no link to nowhere
                yield Path(parent, name)
