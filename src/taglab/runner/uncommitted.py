"""Says what of the lab's folder is not in the commit that was pushed."""
from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from taglab.runner.git import GitError, git

_STATUS = ("--no-optional-locks", "status", "--porcelain=v2", "--branch", "-z", "--no-renames",
           "--no-ahead-behind", "--untracked-files=normal", "--ignore-submodules=dirty")
_HEAD = "# branch.oid "


def uncommitted_note(lab: Path, pushed: Collection[str]) -> str:
    """Return a line on the uncommitted changes in the lab's folder, or "" where there are none.

    `pushed` holds the hashes of the pushed commits. Only the one that is checked out can be
    compared with the folder: what differs from another one was not meant to be in it.
    """
    if not (lab / ".git").exists():
        return ""
    try:
        head, changes = read_status(git(*_STATUS, cwd=lab))
    except GitError:  # the build matters more than this line
        return ""
    if head not in pushed or not changes:
        return ""
    what = "1 change" if changes == 1 else f"{changes} changes"
    return (f"note: {what} in the lab's folder {'is' if changes == 1 else 'are'} not in commit "
            f"{head[:7]} and will not run. To list: git status")


def read_status(text: str) -> tuple[str, int]:
    """Return the hash of HEAD and the number of changed and new files in git's status, version 2.

    A new folder counts as one file.
    """
    entries = text.split("\0")
    head = next((each.removeprefix(_HEAD) for each in entries if each.startswith(_HEAD)), "")
    return head, sum(each[:2] in ("1 ", "u ", "? ") for each in entries)
