"""Asks the library that a commit carries about the runs of a build: only it knows where they are.

The command line between the two is versioned: a newer runner asks an older library, and the other
way round. Version 1 is `python -m taglab.tracking --interface 1 summary|kill --build NUMBER`; labs
from before 0.2 carry `lib.tracking`, which takes the same words without the version.
"""
from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from taglab.lab import LIBRARY
from taglab.runner.folders import remove_folder
from taglab.runner.git import AS_COMMITTED, git
from taglab.runner.remote import REPOSITORY
from taglab.runner.settings import python_path

INTERFACE = "1"
_MODULES = {LIBRARY / "tracking" / "__main__.py": ("taglab.tracking", "--interface", INTERFACE),
            Path("lab", "lib", "tracking.py"): ("lib.tracking",)}
_NEEDED = (LIBRARY.as_posix(), "lab/lib", "pyproject.toml")


def ask_library(lab: Path, commit: str, folder: Path, python: Path, variables: Mapping[str, str],
                verb: str, number: int) -> subprocess.CompletedProcess[str] | None:
    """Let the commit's own library summarize or kill the MLflow runs of a build.

    `folder` is the build's. Returns None where the commit carries no library.
    """
    code = folder / "library"
    checkout(lab, commit, code)
    try:
        module = next((words for file, words in _MODULES.items() if (code / file).exists()), None)
        if module is None:
            return None
        return subprocess.run(
            [python, "-m", *module, verb, "--build", str(number)], cwd=code,
            env={**os.environ, **variables, "PYTHONPATH": python_path(code),
                 "LAB_ROOT": str(code)},
            capture_output=True, encoding="utf-8", errors="replace")
    finally:
        remove_folder(code)


def checkout(lab: Path, commit: str, folder: Path) -> None:
    """Write what a commit holds of its library into `folder`."""
    bare = lab / REPOSITORY
    remove_folder(folder)
    folder.mkdir(parents=True)
    listed = git("ls-tree", "-z", "--name-only", commit, "--", *_NEEDED, cwd=bare)
    if names := [name for name in listed.split("\0") if name]:
        git("--git-dir", str(bare), "--work-tree", str(folder), "-c", "core.bare=false",
            *AS_COMMITTED, "checkout", commit, "--", *names, cwd=folder,
            environment={"GIT_INDEX_FILE": str(folder / ".index")})
