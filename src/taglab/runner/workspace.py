"""A pipeline's workspace: a clean clone of one commit, and paths that point into it."""
from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from taglab.runner.git import git
from taglab.runner.remote import REPOSITORY


def clone(lab: Path, commit: str, folder: Path, depth: int = 0) -> None:
    """Check out `commit` in the empty `folder`: a detached head, without branches or tags.

    The clone borrows the objects of the local remote, so a large history costs nothing. A `depth`
    other than 0 limits the history to that many commits. Raises GitError.
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
    # The user's own git settings must not change the files.
    git("-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "checkout", "--quiet",
        "--detach", commit, cwd=folder)


def write_requirements(lab: Path, commit: str, folder: Path) -> bool:
    """Write the requirements files of `commit` to `folder`.

    Returns whether requirements.txt is one of them.
    """
    bare = lab / REPOSITORY
    names = git("ls-tree", "-r", "-z", "--name-only", commit, cwd=bare).split("\0")
    for name in names:
        if re.search(r"(requirements|constraints)[^/]*\.txt$", name):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(git("show", f"{commit}:{name}", cwd=bare), encoding="utf-8")
    return (folder / "requirements.txt").exists()


def relocate(variables: Mapping[str, str], old: str, new: Path) -> dict[str, str]:
    """Return the variables with the workspace's path in the pipeline, `old`, replaced by `new`."""
    path = re.compile(r"(?<![\w./-])" + re.escape(old.rstrip("/")) + r"(?=$|[/:;,'\"\s])")
    return {name: path.sub(lambda _: str(new), value) for name, value in variables.items()}
