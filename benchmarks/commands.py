"""How long the commands take that people type most, beside Python's own start."""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from labs import bake
from push import STEP, git
from timing import medians

MANY = 10_000
COMMANDS = {"lab --help": ["--help"], "lab status": ["status"]}


def seconds(command: list[object], folder: Path) -> float:
    """Run a command to its end and return its seconds."""
    started = perf_counter()
    subprocess.run(list(map(str, command)), cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env={name: value for name, value in os.environ.items()
                        if name != "PYTHONDONTWRITEBYTECODE"})
    return perf_counter() - started


def add_builds(lab: Path, count: int) -> None:
    """Repeat the record of a lab's first build, so that it has `count` builds."""
    from taglab.runner.builds import Builds, _write

    builds = Builds(lab)
    first = builds.recorded(1)
    assert first
    for number in range(2, count + 1):
        builds.folder(number).mkdir()
        _write(builds.folder(number), replace(first, number=number))


def main() -> None:
    """Print a line for each command."""
    with tempfile.TemporaryDirectory() as folder:
        lab = bake(Path(folder))
        (lab / ".drone.yml").write_text(STEP)
        git(lab, "commit", "-qam", "One step")
        git(lab, "push", "origin", "HEAD:refs/tags/bench-1")
        program = lab / "vendor" / "taglab"
        few = {name: lambda words=words: seconds([sys.executable, program, *words], lab)
               for name, words in COMMANDS.items()}
        start = {"python": lambda: seconds([sys.executable, "-c", "pass"], lab)}
        found = medians(start | few, rounds=15)
        add_builds(lab, MANY)
        name = f"lab status of {MANY:,} builds"
        found |= medians({name: few["lab status"]}, rounds=5)
    for name, value in found.items():
        print(f"{name}: {value:.2f} s, {value / found['python']:.1f} times Python's start")


if __name__ == "__main__":
    main()
