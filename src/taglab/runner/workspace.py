"""A pipeline's workspace: a clean clone of one commit, and paths that point into it."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from taglab.runner.git import AS_COMMITTED, GitError, git, git_bytes
from taglab.runner.remote import REPOSITORY
from taglab.runner.requirements import LOCK, named_paths

# Protocol 2 gives any commit, also one that no ref names any more.
_FETCH = ("-c", "protocol.version=2", "-c", "protocol.file.allow=always",
          "-c", "fetch.fsckObjects=false", "-c", "fetch.recurseSubmodules=false",
          "fetch", "--quiet", "--no-tags")


def clone(lab: Path, commit: str, folder: Path, depth: int = 0, pushed: str = "") -> None:
    """Check out `commit` in the empty `folder`: a detached head, without branches or tags.

    As in Drone's clone, FETCH_HEAD names what was pushed: `pushed`, which an annotated tag has with
    its message, or else the commit. The clone borrows the objects of the local remote, so a large
    history costs nothing. A `depth` other than 0 limits the history to that many commits. Raises
    GitError.
    """
    bare = lab / REPOSITORY
    git("init", "--quiet", "--template=", "--initial-branch=main", object_format(commit), ".",
        cwd=folder)
    git("remote", "add", "origin", bare.as_uri(), cwd=folder)
    if not depth:
        alternates = folder / ".git" / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{bare}/objects\n", encoding="utf-8")
    git(*_FETCH, *([f"--depth={depth}"] if depth else []), str(bare), pushed or commit, cwd=folder)
    git(*AS_COMMITTED, "checkout", "--quiet", "--detach", commit, cwd=folder)


def pushed_object(lab: Path, number: int) -> str:
    """Return the id of what was pushed for a build, an annotated tag or a commit; "" if unknown."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"refs/builds/{number}",
                   cwd=lab / REPOSITORY).strip()
    except GitError:
        return ""


def object_format(commit: str) -> str:
    """Return the option of `git init` for a repository that is to hold the commit."""
    return f"--object-format={'sha1' if len(commit) == 40 else 'sha256'}"


def write_requirements(lab: Path, commit: str, folder: Path) -> bool:
    """Write requirements.txt of `commit` to `folder`, its lock, and all that it names.

    Returns whether there is a requirements.txt.
    """
    bare = lab / REPOSITORY
    names = set(git("ls-tree", "-r", "-z", "--name-only", commit, cwd=bare).split("\0"))
    wanted, written = [Path("requirements.txt"), Path(LOCK)], set[str]()
    while wanted:
        path = os.path.normpath(wanted.pop())
        for name in sorted(name for name in names - written
                           if name == path or name.startswith(f"{path}/")):
            written.add(name)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(git_bytes("show", f"{commit}:{name}", cwd=bare))
            if name.endswith(".txt"):
                wanted += [Path(os.path.relpath(each, folder) if each.is_absolute() else each)
                           for each in named_paths(target)]
    return (folder / "requirements.txt").exists()


def relocate(variables: Mapping[str, str], old: str, new: Path) -> dict[str, str]:
    """Return the variables with the workspace's path in the pipeline, `old`, replaced by `new`."""
    path = re.compile(r"(?<![\w./-])" + re.escape(old.rstrip("/")) + r"(?=$|[/:;,'\"\s])")
    return {name: path.sub(lambda _: str(new), value) for name, value in variables.items()}
