"""How long data takes: `lab data` and DVC side by side, each in a repository of its own.

DVC is installed by uv into an environment of its own in a temporary folder.
"""
from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from labs import bake, python_of
from timing import medians

DVC = "dvc==3.67.1"
SIZE, FILES = 50_000_000, 2_000


def make_data(folder: Path) -> tuple[Path, Path]:
    """Write a file of 50 MB and a folder of 2,000 files, 40 MB in all."""
    file, images = folder / "prices.csv", folder / "images"
    file.write_bytes(os.urandom(SIZE))
    for number in range(FILES):
        path = images / str(number % 20) / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(20_000))
    return file, images


class Side:
    """A repository and the command that keeps its data."""

    def __init__(self, folder: Path, command: list[str], cache: list[Path]) -> None:
        self.folder, self._command, self._cache = folder, command, cache
        self._environment = {**os.environ, "LAB_DATA": str(folder / ".lab" / "data"),
                             "DVC_NO_ANALYTICS": "1",
                             "DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "site")}
        self.file, self.images = make_data(folder)

    def add(self, path: Path) -> float:
        """Add a path that was never added, and return the seconds."""
        for place in self._cache:
            shutil.rmtree(self.folder / place, ignore_errors=True)
        for name in ("data.lock", "prices.csv.dvc", "images.dvc"):
            (self.folder / name).unlink(missing_ok=True)
        return self.time("add", path.name)

    def status(self) -> float:
        """Return the seconds of the status of both."""
        return self.time("status")

    def time(self, *words: str) -> float:
        """Return the seconds of a command."""
        started = perf_counter()
        subprocess.run([*self._command, *words], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, env=self._environment)
        return perf_counter() - started


def sides(folder: Path) -> dict[str, Side]:
    """Return a lab, and a repository of DVC, which is installed first."""
    lab = bake(folder)
    python_of(lab)
    rival = folder / "dvc"
    rival.mkdir()
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--compile-bytecode", "--python",
                    folder / "venv" / "bin" / "python", DVC], check=True)
    dvc = folder / "venv" / "bin" / "dvc"
    subprocess.run(["git", "init", "-q"], cwd=rival, check=True)
    subprocess.run([dvc, "init", "-q"], cwd=rival, check=True)
    return {"lab data": Side(lab, [sys.executable, str(lab / "vendor" / "taglab"), "data"],
                             [Path(".lab", "data")]),
            "DVC": Side(rival, [str(dvc)],
                        [Path(".dvc", name) for name in ("cache", "site", "tmp")])}


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        both = sides(Path(place))
        print(f"Python {platform.python_version()}, {DVC}, {os.cpu_count()} cores; "
              f"medians of {rounds} rounds, in turns\n")
        print("| seconds | lab data | DVC | times as fast |\n| --- | --- | --- | --- |")
        report("add one file of 50 MB", medians(
            {name: lambda side=side: side.add(side.file) for name, side in both.items()}, rounds))
        report("add 2,000 files of 40 MB", medians(
            {name: lambda side=side: side.add(side.images) for name, side in both.items()},
            rounds))
        for side in both.values():
            side.time("add", side.file.name)
        report("status of both", medians(
            {name: side.status for name, side in both.items()}, rounds))


def report(what: str, seconds: dict[str, float]) -> None:
    """Print a row."""
    ours, rival = seconds["lab data"], seconds["DVC"]
    print(f"| {what} | {ours:.2f} | {rival:.2f} | {rival / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
