"""What `lab add` takes, and where in requirements.txt it writes."""
from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from taglab.errors import LabError

DIRECT = "# Added with `lab add`."
INDIRECT = "# What the added ones need."
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"(?:===?|~=|!=|<=?|>=?) *[A-Za-z0-9.*+!_-]+"
# A name, its extras and its versions: PEP 508 without addresses and markers.
_WANTED = re.compile(rf"({_NAME})(?: *\[ *{_NAME}(?: *, *{_NAME})* *\])?"
                     rf"(?: *{_VERSION}(?: *, *{_VERSION})*)?")
_FILE = re.compile(r"\.(txt|toml|whl|zip|tar|tgz|tbz|txz|gz|bz2|xz|lzma)$", re.IGNORECASE)


def check_names(names: Iterable[str]) -> None:
    """Raise LabError for a word that is not the name of a package: an option, a path, a URL."""
    for name in names:
        found = _WANTED.fullmatch(name)
        if not found or _FILE.search(found[1]):
            raise LabError(f"{name!r} is not the name of a package with, if you like, a version. "
                           "Type: lab add 'seaborn>=0.13', or write the line into "
                           "requirements.txt and type: lab init")


def with_added(text: str, names: Iterable[str], lines: Collection[str]) -> str:
    """Return the text of requirements.txt with new lines, each under a heading of its own kind.

    `lines` are `NAME==VERSION`. Those of the packages `names` are the lab's own, the others are
    what they need.
    """
    wanted = {_plain(match[1]) for match in map(_WANTED.fullmatch, names) if match}
    direct = [line for line in lines if _plain(line.partition("==")[0]) in wanted]
    text = _under(text, DIRECT, direct)
    return _under(text, INDIRECT, [line for line in lines if line not in direct])


def _under(text: str, heading: str, lines: Iterable[str]) -> str:
    """Return the text with the lines in the block that begins with a heading, in their order."""
    new = list(lines)
    if not new:
        return text
    old = text.rstrip("\n").split("\n") if text.strip() else []
    if heading not in old:
        return "\n".join([*old, *([""] if old else []), heading, *sorted(new, key=str.lower), ""])
    start = old.index(heading) + 1
    end = next((place for place in range(start, len(old)) if not old[place].strip()), len(old))
    return "\n".join([*old[:start], *sorted(old[start:end] + new, key=str.lower), *old[end:], ""])


def _plain(name: str) -> str:
    """Return a name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
