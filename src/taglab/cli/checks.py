"""What `lab doctor` does: looks for what keeps experiments from running, and says how to mend it.

Standard library only, and whatever a check raises is a line of the report: it must work where
nothing else does. Where the command's own packages are missing, the checks of YAML are skipped.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from taglab.cli.check import OK, SKIPPED, WRONG, Check
from taglab.cli.check_lab import copy_of_library, files, hanging_builds, local_remote, venv
from taglab.cli.check_machine import disk, environment, git, python
from taglab.cli.check_results import server, store, waiting_results

CHECKS: dict[str, Callable[[Path], Iterator[Check]]] = {
    "python": python, "git": git, "disk": disk, "files": files, "environment": environment,
    "venv": venv, "library": copy_of_library, "remote": local_remote, "store": store,
    "waiting": waiting_results, "server": server, "builds": hanging_builds,
}
_SIGNS = {OK: "ok", WRONG: "! ", SKIPPED: "- "}


def report(lab: Path, as_json: bool) -> int:
    """Check a lab and this machine, print what was found, and return an exit status."""
    found = check_all(lab)
    if isinstance(sys.stdout.encoding, str) and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any letter
    print(json.dumps([asdict(each) for each in found], indent=1) if as_json else as_text(found))
    return 1 if any(each.status == WRONG for each in found) else 0


def check_all(lab: Path) -> list[Check]:
    """Return what all checks find. They run at the same time, since some wait for an answer."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        return [each for found in pool.map(lambda name: _run(name, lab), CHECKS) for each in found]


def as_text(checks: list[Check]) -> str:
    """Return a line for each check, with what to type below those that are wrong."""
    width = max(len(each.name) for each in checks)
    lines = []
    for each in checks:
        text = each.text.replace("\n", "\n" + " " * (width + 5))
        lines.append(f"{_SIGNS[each.status]} {each.name:{width}}  {text}")
        if each.remedy:
            lines.append(f"{'':{width + 5}}Type: {each.remedy}")
    return "\n".join(lines)


def _run(name: str, lab: Path) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(CHECKS[name](lab))
    except (Exception, SystemExit) as error:  # a broken lab is what this is for
        found.append(Check(name, WRONG, f"could not be checked: {type(error).__name__}: {error}"))
    return found
