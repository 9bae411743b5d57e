"""`lab add NAMES` pins packages and what they need in requirements.txt; `lab lock` their hashes."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taglab.cli.added import check_names, with_added
from taglab.cli.init import make_venv
from taglab.runner.environment import Report, ensure_environment, ensure_installer
from taglab.runner.install import lock_text, resolve
from taglab.runner.requirements import LOCK


def add_packages(lab: Path, names: list[str], report: Report) -> list[str]:
    """Pin the newest versions that are compatible with what is already pinned, and install them.

    Returns the new lines of requirements.txt; a lock is written anew. Raises LabError for a word
    that names no package, and where there is no such version; the files are then as they were.
    """
    check_names(names)
    requirements = lab / "requirements.txt"
    environment = ensure_environment(lab, report)
    lines = resolve(requirements, names, environment, ensure_installer(report), report)
    if lines:
        before = requirements.read_text(encoding="utf-8")
        requirements.write_text(with_added(before, names, lines), encoding="utf-8")
        try:
            if (lab / LOCK).exists():
                write_lock(lab, report)
        except BaseException:
            requirements.write_text(before, encoding="utf-8")
            raise
        make_venv(lab, ensure_environment(lab, report))
    return lines


def write_lock(lab: Path, report: Report) -> str:
    """Write the lock of requirements.txt, and return its text. Raises LabError before that."""
    text = lock_text(lab / "requirements.txt", ensure_installer(report), report)
    (lab / LOCK).write_text(text, encoding="utf-8")
    return text


@dataclass(frozen=True)
class Locked:
    """The lock that was written, and how much is in it."""

    lock: str
    packages: int
    hashes: int

    def __str__(self) -> str:
        return (f"{self.lock} has {self.hashes} hashes of {self.packages} packages; commit it "
                "with requirements.txt")


def lock_packages(lab: Path, report: Report) -> Locked:
    """Write the lock, and install what it names. Raises LabError."""
    text = write_lock(lab, report)
    make_venv(lab, ensure_environment(lab, report))
    return Locked(LOCK, text.count("=="), text.count("--hash="))
