"""Finds in the output of a failed step a file that the lab's folder holds and its commit does not.
"""
from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from taglab.runner.git import GitError, git
from taglab.runner.remote import REPOSITORY

TAIL = 32 * 1024  # bytes of output, the last ones, in which a file's name is looked for
_MARKS = ("no such file", "not found", "filenotfounderror", "cannot open")
_LONGEST_LINE = 1024
_LINES = 10
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\"""")


def missing_file_hint(lab: Path, commit: str, output: bytes, folder: Path,
                      workspace: Path) -> str:
    """Return how to give a step a file that it missed and the lab's folder has, or "".

    `output` is what the step printed last, `folder` where it ran, `workspace` its clone.
    """
    for name in names_of_missing_files(output.decode(errors="surrogateescape")):
        path = path_in_workspace(name, folder, workspace)
        if path and _is_only_in_lab(lab, commit, path, workspace):
            add = f"git add {'-f ' if _is_ignored(lab, path) else ''}{shlex.quote(path)}"
            return (f"{path} is in the lab's folder and not in commit {commit[:7]}, which is all "
                    f"that a step gets. Type: {add}, commit it and push a new tag. If it is too "
                    f"large for git, let the step read it by its absolute path: {lab / path}")
    return ""


def names_of_missing_files(output: str) -> list[str]:
    """Return what may be names of files in the lines that say that one was not found, last first.

    These are quoted texts as Python and the shell's tools print them, what stands between colons,
    and words; most of them are no file.
    """
    lines = [line for line in output.split("\n") if any(mark in line.lower() for mark in _MARKS)]
    names = (name for line in reversed(lines[-_LINES:]) if len(line) <= _LONGEST_LINE
             for name in _names(line))
    return list(dict.fromkeys(filter(None, names)))


def path_in_workspace(name: str, folder: Path, workspace: Path) -> str | None:
    """Return the path from `workspace` to a file that is called `name` in `folder`, or None."""
    path = os.path.relpath(os.path.join(folder, name), workspace)
    return None if path == "." or path.split(os.sep)[0] == os.pardir else path


def _names(line: str) -> Iterator[str]:
    for quoted in _QUOTED.findall(line):
        try:
            yield str(ast.literal_eval(quoted))
        except (SyntaxError, ValueError):
            yield quoted[1:-1]
    yield from (part.strip() for part in line.split(": "))
    yield from (word.strip("'\"`‘’:,;()") for word in line.split())


def _is_only_in_lab(lab: Path, commit: str, path: str, workspace: Path) -> bool:
    if not os.path.lexists(lab / path) or os.path.lexists(workspace / path):
        return False
    try:
        git("cat-file", "-e", f"{commit}:{path}", cwd=lab / REPOSITORY)
    except GitError:
        return True
    return False


def _is_ignored(lab: Path, path: str) -> bool:
    try:
        git("check-ignore", "--quiet", "--", path, cwd=lab)
    except GitError:
        return False
    return True
