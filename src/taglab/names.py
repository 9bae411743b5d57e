"""Which names MLflow accepts for parameters and metrics, and how long values may be.

With any other it refuses the whole call. The rules are those of MLflow 3.17.2 on Linux and macOS.
"""

import posixpath
import re

LONGEST = 250  # characters
LONGEST_TAG, LONGEST_PARAM = 8000, 6000  # characters of a value
ACCEPTED = "letters, digits, _ - . : / and blanks"


def is_accepted(name: str, longest: int = LONGEST) -> bool:
    """Return whether MLflow accepts a name, of at most so many characters."""
    # A name may become the path of a file, and must be that path in its shortest form.
    return (re.fullmatch(r"[/\w.\- :]+", name) is not None and len(name) <= longest
            and posixpath.normpath(name) == name != "." and not name.startswith(("/", "..")))


def accepted_name(name: str, longest: int = LONGEST) -> str:
    """Return a name that MLflow accepts and that resembles this one: lr_max for `lr (max)`."""
    words = re.sub(r"[^\w.\-]+", "_", name).strip("_.-")
    return words[:longest].rstrip("_.-") or "name"


def refusal(name: str, longest: int = LONGEST) -> str:
    """Return why MLflow does not accept a name and what to call it instead, or ""."""
    if is_accepted(name, longest):
        return ""
    better = accepted_name(name, longest)
    return (f"MLflow does not accept {name[:80]!r} as a name: it takes {ACCEPTED}, at most"
            f" {longest} characters, in the form of a path; use {better[:80]!r}")
