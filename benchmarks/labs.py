"""Labs for benchmarks, baked by the cookiecutter in this Python's environment."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1]
SOURCE = TEMPLATE / "src"
sys.path.insert(0, str(SOURCE))
COOKIECUTTER = Path(sys.executable).with_name("cookiecutter")
AUTHOR = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "Benchmark"), ("EMAIL", "benchmark@localhost"))}


def bake(folder: Path, template: Path = TEMPLATE, *answers: str) -> Path:
    """Bake a template into `folder` and return the folder of the lab."""
    before = set(folder.iterdir())
    subprocess.run([COOKIECUTTER, template, "--no-input", "--output-dir", folder, *answers],
                   check=True, stdout=subprocess.DEVNULL, env={**os.environ, **AUTHOR})
    return (set(folder.iterdir()) - before).pop()


def python_of(folder: Path) -> Path:
    """Return a Python with the packages of `folder`/requirements.txt, installed if need be."""
    from taglab.runner.environment import ensure_environment
    return ensure_environment(folder, print) / "bin" / "python"


def python_path(lab: Path, *more: Path) -> str:
    """Return the PYTHONPATH of a lab's processes, with more folders behind it."""
    from taglab.runner.settings import python_path as of_runner
    return os.pathsep.join([of_runner(lab), *map(str, more)])
