"""The checks of `lab doctor` on what a lab needs of a machine."""
from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from taglab.cli.check import INIT, OK, WRONG, Check
from taglab.errors import LabError
from taglab.git import run_git
from taglab.runner.environment import environment_path, environments_folder

NEEDED = 2e9  # bytes; an environment without PyTorch takes about half of it
_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 11))"


def python(lab: Path) -> Iterator[Check]:
    """Check the Python that runs this, and the one that a push runs: python3 from PATH."""
    found = shutil.which("python3")
    text = f"{platform.python_version()} ({sys.executable})"
    if found is None or subprocess.run([found, "-c", _NEW_ENOUGH], capture_output=True).returncode:
        yield Check("python", WRONG, f"{text}, but a push runs python3 from PATH, which is "
                    f"{f'older than 3.11 ({found})' if found else 'not there'}",
                    f'export PATH="{Path(sys.executable).parent}:$PATH"')
    else:
        yield Check("python", OK, text)


def git(lab: Path) -> Iterator[Check]:
    """Check that git is there, knows who commits, and that the lab is a repository with a commit.
    """
    try:
        version = run_git("--version", cwd=lab).stdout.decode(errors="replace").strip()
    except FileNotFoundError:
        yield Check("git", WRONG, "git is not in PATH", "sudo apt install git")
        return
    author = run_git("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT", cwd=lab)
    if author.returncode:
        yield Check("git", WRONG, f"{version}, which does not know who commits", "git config "
                    '--global user.name "NAME" && git config --global user.email ADDRESS')
    else:
        who = author.stdout.decode(errors="replace").rpartition(">")[0]
        yield Check("git", OK, f"{version}, {who}>")
    if not (lab / ".git").exists():
        yield Check("git", WRONG, f"{lab} is not a git repository", "git init -b main && "
                    f"git add -A && git commit -m 'A lab' && {INIT}")
        return
    status = run_git("rev-parse", "--git-dir", cwd=lab)
    if status.returncode:
        said = status.stderr.decode(errors="replace").strip()
        yield Check("git", WRONG, said, f"git config --global --add safe.directory {lab}"
                    if "safe.directory" in said else "git status")
    elif run_git("rev-parse", "--verify", "--quiet", "HEAD", cwd=lab).returncode:
        yield Check("git", WRONG, "the lab has no commit yet",
                    "git add -A && git commit -m 'A lab'")


def disk(lab: Path) -> Iterator[Check]:
    """Check the space for results and for environments."""
    folders = {folder.stat().st_dev: folder for folder in (
        _existing(environments_folder()), lab)}  # the lab, where both are on one disk
    for folder in folders.values():
        yield space(folder, shutil.disk_usage(folder).free)


def space(folder: Path, free: float) -> Check:
    """Return whether so many free bytes are enough."""
    text = f"{free / 1e9:.1f} GB free in {folder}"
    if free < NEEDED:
        return Check("disk", WRONG, f"only {text}", "lab clean")
    return Check("disk", OK, text)


def environment(lab: Path) -> Iterator[Check]:
    """Check the environment of the current requirements, and what installs packages."""
    try:
        path = environment_path(lab)
    except LabError as error:
        yield Check("environment", WRONG, str(error))
    else:
        if not (path / "ready").exists():
            yield Check("environment", WRONG, "there is none for the current requirements.txt and "
                        f"Python {platform.python_version()}; the next push would make it", INIT)
        elif not (path / "bin" / "python").exists():
            yield Check("environment", WRONG, f"its Python is gone: {path}",
                        f"rm -r {path} && {INIT}")
        else:
            yield Check("environment", OK, str(path))
    yield _installer()


def _installer() -> Check:
    """Return what installs packages: uv, or pip where uv could not be had."""
    from taglab.runner.install import TOOLS

    path = environment_path(TOOLS)
    if not (path / "bin" / "python").exists():
        return Check("installer", OK, "uv or pip, which come with the next environment")
    uv = path / "bin" / "uv"
    if not os.access(uv, os.X_OK):
        return Check("installer", OK, "pip, slower: uv could not be had")
    done = subprocess.run([uv, "--version"], capture_output=True, text=True)
    if done.returncode:
        return Check("installer", WRONG, f"uv does not run: {done.stderr.strip()}",
                     f"rm -r {path} && {INIT}")
    return Check("installer", OK, done.stdout.strip())


def _existing(folder: Path) -> Path:
    """Return the nearest folder from this one upward that is there."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())
