"""Runs git, without the variables that bind it to the repository of an outer git command."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from taglab.errors import LabError

_LOCAL_VARIABLES = (  # listed by `git rev-parse --local-env-vars`; the last is set in hooks
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX",
    "GIT_SHALLOW_FILE", "GIT_COMMON_DIR", "GIT_INTERNAL_SUPER_PREFIX", "GIT_QUARANTINE_PATH",
)


class GitError(LabError):
    """A git command failed; the message holds the command and git's own message."""


def git_environment() -> dict[str, str]:
    """Return this process's environment without the variables that bind git to a repository."""
    return {name: value for name, value in os.environ.items() if name not in _LOCAL_VARIABLES}


def git(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run `git ARGUMENTS` in `cwd`, with `environment` added to this process's; return its output.

    Raises GitError when git is missing or the command fails.
    """
    try:
        done = subprocess.run(("git", *arguments), cwd=cwd, stdin=subprocess.DEVNULL,
                              env={**git_environment(), **(environment or {})}, capture_output=True,
                              encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise GitError(f"git cannot be started in {cwd}: {error.strerror}") from error
    if done.returncode != 0:
        raise GitError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
