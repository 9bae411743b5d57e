"""What a clean clone pays for having no bytecode: each build compiles the modules anew."""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

from labs import TEMPLATE, bake, python_of
from timing import medians

IMPORTS = ("from taglab.config import load_config; from taglab.search import search; "
           "from taglab.tracking import start_run")


def imported(python: Path, code: Path, clean: bool) -> float:
    """Return the seconds that a process takes to import what a main.py does."""
    if clean:
        for cache in [*code.rglob("__pycache__")]:
            shutil.rmtree(cache)
    started = perf_counter()
    environment = {name: value for name, value in os.environ.items()
                   if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([python, "-c", IMPORTS], check=True,
                   env={**environment, "PYTHONPATH": str(code)})
    return perf_counter() - started


def main() -> None:
    """Print one line."""
    with tempfile.TemporaryDirectory() as folder:
        python = python_of(bake(Path(folder)))
        code = Path(folder, "code")
        shutil.copytree(TEMPLATE / "src" / "taglab", code / "taglab")
        seconds = medians({"with": lambda: imported(python, code, clean=False),
                           "without": lambda: imported(python, code, clean=True)}, rounds=9)
    print(f"imports of a main.py without bytecode: {seconds['without']:.2f} s, "
          f"{seconds['without'] - seconds['with']:+.2f} s against {seconds['with']:.2f} s with it")


if __name__ == "__main__":
    main()
