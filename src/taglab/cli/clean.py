"""`lab clean`: lists what nothing needs any more, and removes it where that is wanted."""
from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import time

import click

from taglab.cli.leftovers import (
    BUILD, ENVIRONMENT, REMOVED, SEARCH, Leftover, Limits, find_leftovers, is_locked)
from taglab.cli.output import FAILED, as_json_option, show
from taglab.engines.drone.outcome import FINAL
from taglab.runner.builds import Builds
from taglab.runner.environment import remove_environment
from taglab.runner.folders import remove_folder
from taglab.runner.interrupted import end_interrupted

SHOWN = 10  # of each kind; --json shows all


@click.command()
@as_json_option
@click.option("--keep", type=click.IntRange(min=1), default=50, show_default=True,
              help="Keep so many of the newest builds.")
@click.option("--days", type=click.FloatRange(min=1), default=30, show_default=True,
              help="Keep builds and environments that are not older, or were used since.")
@click.option("--unfinished", is_flag=True, help="Also searches and trainings that were stopped "
              "before --days: they can then not be resumed.")
@click.option("--yes", is_flag=True, help="Remove what is listed.")
@click.pass_obj
def clean(lab: Path, as_json: bool, keep: int, days: float, unfinished: bool, yes: bool) -> int:
    """List what nothing needs any more; --yes removes it.

    Old builds, environments that were not used, artifacts of deleted runs, and what killed
    processes have left. Results that a run has stay, as do builds that run and results that wait
    for a server.
    """
    end_interrupted(lab)
    found = find_leftovers(lab, Limits(keep, days, unfinished), time())
    left = {each for each in found if not _remove(lab, each)} if yes else set()
    show([each for each in found if each not in left], as_json,
         lambda: _text(lab, [each for each in found if each not in left], yes))
    for each in sorted(left, key=lambda each: each.path):
        click.echo(f"error: {each.path} could not be removed; it is in use, or belongs to another "
                   "user", err=True)
    return FAILED if left else 0


def _remove(lab: Path, leftover: Leftover) -> bool:
    """Remove something unless it is in use by now; return whether it is gone."""
    path = Path(leftover.path)
    with suppress(OSError):  # what is left is named
        if leftover.kind == ENVIRONMENT:
            remove_environment(path.name)
        elif leftover.kind == BUILD:
            _remove_build(Builds(lab), int(path.name))
        elif leftover.kind != SEARCH or not is_locked(path):
            _remove_all(path)
    return not path.exists()


def _remove_build(builds: Builds, number: int) -> None:
    """Remove a build that has ended: first its number, so that nobody finds half of it."""
    build = builds.recorded(number)
    if build and build.status in FINAL and not builds.is_held(number):
        away = builds.root / f"{REMOVED}{number}"
        builds.folder(number).rename(away)
        _remove_all(away)


def _remove_all(path: Path) -> None:
    """Remove a file or a folder, also one with folders that may not be written."""
    remove_folder(path)
    if path.is_dir():
        for folder, _, _ in os.walk(path):  # from the top, since what is closed has to be opened
            with suppress(OSError):
                os.chmod(folder, stat.S_IRWXU)
        remove_folder(path)


def _text(lab: Path, found: list[Leftover], removed: bool) -> str:
    if not found:
        return "nothing to remove"
    lines = []
    for kind in dict.fromkeys(each.kind for each in found):
        of_kind = [each for each in found if each.kind == kind]
        lines.append(f"{kind}: {len(of_kind)}, {_megabytes(of_kind)}")
        lines += [f"  {_megabytes([each]):>10}  {_short(lab, each.path)}  ({each.reason})"
                  for each in of_kind[:SHOWN]]
        if of_kind[SHOWN:]:
            lines.append(f"  and {len(of_kind) - SHOWN} more; to list them, add: --json")
    total = _megabytes(found)
    return "\n".join([*lines, f"removed: {total}" if removed else
                      f"{total} in all, nothing is removed yet. To remove it, add: --yes"])


def _megabytes(leftovers: Iterable[Leftover]) -> str:
    return f"{sum(each.size for each in leftovers) / 1e6:.1f} MB"


def _short(lab: Path, path: str) -> str:
    return os.path.relpath(path, lab) if Path(path).is_relative_to(lab) else path
