"""Knows a full disk, and a quota that is used up, in what others report."""
from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE = 16 * 1024  # bytes; less is used up by what is written between failure and look
_SQLITE_FULL = 13  # https://www.sqlite.org/rescode.html#full


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that has led to it, says that a disk is full."""
    while error is not None:
        if (getattr(error, "errno", None) in _FULL or says_full(str(error))
                or getattr(error, "sqlite_errorcode", None) == _SQLITE_FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def says_full(text: str) -> bool:
    """Return whether what a program printed says that a disk is full."""
    return any(os.strerror(number) in text for number in _FULL)


def has_no_space(folder: Path) -> bool:
    """Return whether the disk of a folder has no space left for this user, or no file."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize < _LITTLE or (found.f_files > 0 and not found.f_favail)


def reason(error: Exception, folder: Path | None = None) -> str:
    """Return why something failed; a full disk is named, also when only that of `folder` tells."""
    words = getattr(error, "strerror", None) or str(error)
    if is_full(error) or (folder is not None and has_no_space(folder)):
        return f"the disk is full ({words})"
    return str(error) if getattr(error, "filename", None) else words
