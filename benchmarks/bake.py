"""How long a bake takes as a whole process, against a template with a single file."""
from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter

from labs import TEMPLATE, bake
from timing import medians


def timed_bake(template: Path, *answers: str) -> float:
    """Bake into a new folder and return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        bake(Path(folder), template, *answers)
        return perf_counter() - started


def main() -> None:
    """Print one line."""
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder, "{{cookiecutter.name}}")
        single.mkdir()
        (single / "README.md").write_text("# {{cookiecutter.name}}\n")
        Path(folder, "cookiecutter.json").write_text('{"name": "one"}')
        seconds = medians({
            "single file": lambda: timed_bake(Path(folder)),
            "no git": lambda: timed_bake(TEMPLATE, "start_git=no"),
            "lab": lambda: timed_bake(TEMPLATE)}, rounds=7)
    print(f"bake: {seconds['lab']:.2f} s ({seconds['no git']:.2f} s without git), "
          f"{seconds['lab'] / seconds['single file']:.1f} times a template with one file "
          f"({seconds['single file']:.2f} s)")


if __name__ == "__main__":
    main()
