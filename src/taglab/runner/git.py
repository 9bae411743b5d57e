"""Runs git for the runner and the command line, which want text, and an error they can show."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taglab.errors import LabError
from taglab.git import run_git


# Options with which a checkout writes the files as the commit holds them.
AS_COMMITTED = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.symlinks=true",
                "-c", "core.attributesFile=/dev/null")


class GitError(LabError):
    """A git command failed; the message holds the command and git's own message."""


def git(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run `git ARGUMENTS` in `cwd`, with `environment` added to this process's; return its output.

    Raises GitError when git is missing or the command fails.
    """
    return git_bytes(*arguments, cwd=cwd, environment=environment).decode(errors="replace")


def git_bytes(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> bytes:
    """Run git as `git` does, and return its output as it is."""
    try:
        done = run_git(*arguments, cwd=cwd, environment=environment)
    except FileNotFoundError as error:
        raise GitError(f"git cannot be started in {cwd}: {error.strerror}") from error
    if done.returncode != 0:
        problem = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
        raise GitError(f"git {' '.join(arguments)}: {problem}")
    return done.stdout
