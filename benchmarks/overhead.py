"""What tracking adds to each process: main.py against the same computation without MLflow."""
from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

from labs import bake, python_of, python_path
from timing import medians

BARE = Path(__file__).with_name("bare")


def run(command: list[object], folder: Path, **variables: str) -> float:
    """Run a command to its end and return its seconds."""
    started = perf_counter()
    subprocess.run(list(map(str, command)), cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, **variables})
    return perf_counter() - started


def main() -> None:
    """Print a line for each process."""
    with tempfile.TemporaryDirectory() as folder:
        lab = bake(Path(folder))
        python = python_of(lab)
        for bare in sorted(BARE.glob("*.py")):
            process = lab / "lab" / "processes" / bare.stem
            path = python_path(lab, process)
            seconds = medians({
                "bare": lambda: run([python, bare, process], lab, PYTHONPATH=path),
                "lab": lambda: run([python, process / "main.py"], lab, PYTHONPATH=path)}, rounds=5)
            print(f"{bare.stem}: {seconds['bare']:.2f} s without tracking, "
                  f"{seconds['lab']:.2f} s with it: {seconds['lab'] - seconds['bare']:.2f} s more, "
                  f"{seconds['lab'] / seconds['bare']:.2f} times")


if __name__ == "__main__":
    main()
