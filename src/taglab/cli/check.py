"""One line of `lab doctor`."""
from __future__ import annotations

from dataclasses import dataclass

OK, WRONG, SKIPPED = "ok", "wrong", "skipped"
INIT = "python3 vendor/taglab init"  # where `.venv` is broken, there is no `lab`


@dataclass(frozen=True)
class Check:
    """What was found; `remedy` is what to type where it is wrong."""

    name: str
    status: str  # OK, WRONG or SKIPPED
    text: str
    remedy: str = ""
