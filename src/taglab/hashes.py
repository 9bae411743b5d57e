"""Tells a copy of this library that was edited from one that is as it was delivered.

A lab's copy holds SHA256SUMS, in the form of the program sha256sum: a line for each file.
"""

import hashlib
from pathlib import Path

NAME = "SHA256SUMS"


def write_hashes(package: Path) -> None:
    """Write down the hashes of all files of a package that is as it was delivered."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(_hashes(package).items())]
    (package / NAME).write_text("".join(lines), encoding="utf-8")


def edited_files(package: Path) -> list[str] | None:
    """Return the files that were changed, added or removed since; None where nothing is known."""
    if not (package / NAME).exists():
        return None
    lines = (package / NAME).read_text(encoding="utf-8").splitlines()
    delivered = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = _hashes(package)
    return sorted(name for name in delivered.keys() | found.keys()
                  if delivered.get(name) != found.get(name))


def _hashes(package: Path) -> dict[str, str]:
    files = [file for file in package.rglob("*")
             if file.is_file() and file.name != NAME and "__pycache__" not in file.parts]
    return {file.relative_to(package).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files}
