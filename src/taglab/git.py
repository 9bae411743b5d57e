"""Runs git so that it prints and does the same whatever the user's settings are.

What git knows of the user stays: the identity, `safe.directory`, credentials, proxies.
"""
from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Variables that bind git to another repository, as `git rev-parse --local-env-vars` lists them, and
# those that change what it prints or does. GIT_QUARANTINE_PATH is set in hooks.
_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_OBJECT_DIRECTORY", "GIT_DIR",
    "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR", "GIT_INTERNAL_SUPER_PREFIX", "GIT_QUARANTINE_PATH", "GIT_NAMESPACE",
    "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_ATTR_SOURCE", "GIT_ALLOW_PROTOCOL",
)
_SETTINGS = {
    "safe.bareRepository": "all",  # the local remote is one
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "log.showSignature": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "status.showUntrackedFiles": "normal",
    "diff.ignoreSubmodules": "none",
    "submodule.recurse": "false",
}


def git_environment() -> dict[str, str]:
    """Return this process's environment without the variables that bind or change git."""
    return {name: value for name, value in os.environ.items() if name not in _VARIABLES}


def run_git(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None,
            text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `git ARGUMENTS` in `cwd` on the input `text`, and return how it ended.

    `environment` is added to this process's. Messages are in English. Raises OSError when git is
    missing.
    """
    settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    return subprocess.run(
        ["git", "--no-optional-locks", *settings, *arguments], cwd=cwd, input=text,
        capture_output=True, env={**git_environment(), "LC_ALL": "C", **(environment or {})})
