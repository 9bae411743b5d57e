"""Labs for benchmarks, baked by the cookiecutter that is installed beside this Python."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1]
COOKIECUTTER = Path(sys.executable).with_name("cookiecutter")
AUTHOR = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "Benchmark"), ("EMAIL", "benchmark@localhost"))}


def bake(folder: Path, template: Path = TEMPLATE, *answers: str) -> Path:
    """Bake a template into `folder` and return the lab's folder."""
    before = set(folder.iterdir())
    subprocess.run([COOKIECUTTER, template, "--no-input", "--output-dir", folder, *answers],
                   check=True, stdout=subprocess.DEVNULL, env={**os.environ, **AUTHOR})
    return (set(folder.iterdir()) - before).pop()


def python_of(lab: Path) -> Path:
    """Return the interpreter of a lab's environment, which is made where it is missing."""
    sys.path.insert(0, str(lab / "runtimes"))
    from taglab.runner.environment import ensure_environment
    return ensure_environment(lab, print) / "bin" / "python"
