"""The version of what lies in `.lab`: the local remote, the builds, their records and logs."""
from __future__ import annotations

from pathlib import Path

from taglab.errors import LabError

VERSION = 2  # 1 had no version file, and a hook that knew labs before 0.2 alone
FILE = Path(".lab", "version")


def state_version(lab: Path) -> int:
    """Return the version of what lies in `.lab`."""
    if not (lab / FILE).exists():
        return 1
    return int((lab / FILE).read_text(encoding="utf-8"))


def check_state(lab: Path) -> None:
    """Raise LabError where a newer release of this library has written what lies in `.lab`."""
    if (version := state_version(lab)) > VERSION:
        raise LabError(f"what lies in .lab has version {version}, and this release of taglab knows "
                       f"{VERSION}. Check out the commit that brought the newer vendor/taglab, or "
                       "take the newer release: cruft update")


def mark_state(lab: Path) -> None:
    """Write down that what lies in `.lab` has the version of this release."""
    (lab / FILE).write_text(f"{VERSION}\n", encoding="utf-8")
