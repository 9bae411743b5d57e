"""A clean clone of one commit, and the variables that a step gets in it."""
from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from taglab.runner.git import git
from taglab.runner.remote import REPOSITORY


def clone(lab: Path, commit: str, folder: Path, depth: int = 0) -> None:
    """Check `commit` out in the empty `folder`: a detached head, without any branch or tag.

    The objects are those of the local remote, so that the size of the history does not count;
    with a depth, the history is cut off after so many commits. Raises GitError.
    """
    bare = lab / REPOSITORY
    git("init", "--quiet", "--template=", "--initial-branch=main", ".", cwd=folder)
    git("remote", "add", "origin", f"file://{bare}", cwd=folder)
    if depth:
        git("fetch", "--quiet", f"--depth={depth}", "origin", commit, cwd=folder)
    else:
        alternates = folder / ".git" / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{bare}/objects\n", encoding="utf-8")
    # The user's own git settings must not change what a commit is.
    git("-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "checkout", "--quiet",
        "--detach", commit, cwd=folder)


def write_requirements(lab: Path, commit: str, folder: Path) -> bool:
    """Write the requirements files of `commit` into `folder`; False when it has none."""
    bare = lab / REPOSITORY
    names = git("ls-tree", "-r", "-z", "--name-only", commit, cwd=bare).split("\0")
    for name in names:
        if re.search(r"(requirements|constraints)[^/]*\.txt$", name):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(git("show", f"{commit}:{name}", cwd=bare), encoding="utf-8")
    return (folder / "requirements.txt").exists()


def reroot(variables: Mapping[str, str], there: str, here: str) -> dict[str, str]:
    """Replace the pipeline's workspace path by the workspace on this machine."""
    path = re.compile(r"(?<![\w./-])" + re.escape(there.rstrip("/")) + r"(?=$|[/:;,'\"\s])")
    return {name: path.sub(lambda _: here, value) for name, value in variables.items()}
