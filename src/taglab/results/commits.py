"""What differs between the commits of two tags: the code, the packages and the goals."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taglab.git import run_git
from taglab.goals import Goal, GoalsError, read_goals

GOALS = "goals/goals.toml"
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class FileChange:
    """A file that differs; added and removed are numbers of lines, None for what is no text."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True)
class CodeChange:
    """What lies between two commits.

    commits: the first line of each that the new one has and the old one has not, newest first.
    missing: how many the old one has and the new one has not.
    """

    commits: tuple[str, ...]
    missing: int
    files: tuple[FileChange, ...]


@dataclass(frozen=True)
class PackageChange:
    """A package of requirements.txt; None where a commit has it not."""

    name: str
    old: str | None
    new: str | None


def code_change(lab: Path, old: str, new: str) -> CodeChange:
    """Return what lies between two commits of the lab's repository."""
    commits = _git(lab, "log", "--format=%h %s", f"{old}..{new}").splitlines()
    missing = _git(lab, "rev-list", "--count", f"{new}..{old}").strip()
    numbers = _git(lab, "diff", "--numstat", "--no-renames", "-z", old, new).split("\0")
    return CodeChange(tuple(commits), int(missing or 0),
                      tuple(_file(line) for line in numbers if line))


def _file(line: str) -> FileChange:
    added, removed, path = line.split("\t", 2)
    return FileChange(path, *(None if each == "-" else int(each) for each in (added, removed)))


def package_changes(old: str, new: str) -> tuple[PackageChange, ...]:
    """Return the packages that two texts of requirements.txt pin otherwise, by name."""
    left, right = read_pins(old), read_pins(new)
    return tuple(PackageChange(name, left.get(name), right.get(name))
                 for name in sorted(left.keys() | right.keys())
                 if left.get(name) != right.get(name))


def read_pins(text: str) -> Mapping[str, str]:
    """Return what stands after each package's name in a text of requirements.txt, without `==`.

    A line that begins with an option or a path counts as a package of that name.
    """
    found = {}
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if named := re.match(r"([A-Za-z0-9][\w.-]*)\s*(\[.*?\])?\s*(.*)", line):
            name = re.sub(r"[-_.]+", "-", named[1]).lower() + (named[2] or "")
            found[name] = named[3].removeprefix("==").strip() or "any version"
        elif line:
            found[line] = "in the list"
    return found


def file_at(lab: Path, commit: str, path: str) -> str:
    """Return the text of a file in a commit, or "" where it has none."""
    return _git(lab, "show", f"{commit}:{path}")


def goals_at(lab: Path, commit: str) -> list[Goal]:
    """Return the goals of a commit; [] where it has none, or none that can be read."""
    text = file_at(lab, commit, GOALS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "goals.toml")
        path.write_text(text, encoding="utf-8")
        try:
            return read_goals(path) if text else []
        except GoalsError:
            return []


def _git(lab: Path, *arguments: str) -> str:
    """Return what git prints; "" where it fails, as for a file that a commit has not."""
    return run_git(*arguments, cwd=lab).stdout.decode(errors="replace")
