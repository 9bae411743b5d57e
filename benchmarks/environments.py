"""How long an environment takes: with uv, and with pip, both with and without what they cache."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import mean
from time import perf_counter

from labs import SOURCE, bake

MAKE = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from taglab.runner.environment import ensure_environment
print(ensure_environment(Path(sys.argv[2]), print))
"""
IMPORT = "import mlflow, torch, sklearn, pandas, matplotlib"
# The second is a setting that uv does not have, so pip has to install.
VARIABLES = {"uv": {}, "pip": {"PIP_NOTHING_OF_UV": "1"}}
TARGETS = {"cold": 3, "warm": 4}  # times as fast as pip
ADD_TARGET = 10  # seconds


def timed(what: str, *command: str | Path, cache: Path, folder: Path,
          tool: str = "uv") -> tuple[float, str]:
    """Print and return the seconds that a command takes; return its last line, too."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), **VARIABLES[tool]}
    started, before = perf_counter(), getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=folder,
                          env=environment)
    seconds, after = perf_counter() - started, getrusage(RUSAGE_CHILDREN)
    processors = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what}, {tool}: {seconds:.1f} s, {processors:.1f} s of them on a processor", flush=True)
    return seconds, (done.stdout.splitlines() or [""])[-1]


def made(lab: Path, cache: Path, tool: str, kind: str) -> tuple[float, Path]:
    """Return the seconds that the environment of a lab takes, and its path."""
    shutil.rmtree(cache if kind == "cold" else cache / "taglab", ignore_errors=True)
    tools = cache / "tools"  # pip and uv, made before the clock starts: once for all environments
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "requirements.txt").touch()
    for what, folder in (("tools", tools), (kind, lab)):
        seconds, path = timed(what, sys.executable, "-c", MAKE, SOURCE, folder, cache=cache,
                              folder=folder, tool=tool)
    return seconds, Path(path)


def judged(figure: float, met: bool) -> str:
    """Return a figure and whether it meets its target."""
    return f"{figure:.1f} ({'met' if met else 'MISSED'})"


def main() -> None:
    """Print one line for each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lab = bake(folder)
        for kind, target in TARGETS.items():
            seconds: dict[str, list[float]] = {"uv": [], "pip": []}
            for tool in ("uv", "pip", "uv"):  # before and after: others may slow the machine
                taken, environment = made(lab, folder / tool, tool, kind)
                seconds[tool].append(taken)
                if kind == "warm":  # pip has compiled all modules; after uv that goes on meanwhile
                    timed("first imports", environment / "bin" / "python", "-c", IMPORT,
                          cache=folder / tool, folder=folder, tool=tool)
            ratio = mean(seconds["pip"]) / mean(seconds["uv"])
            print(f"{kind}: {judged(ratio, ratio >= target)} times as fast as pip, "
                  f"target {target}", flush=True)
        added, _ = timed("lab add", sys.executable, "vendor/taglab", "add", "tomli_w",
                         cache=folder / "uv", folder=lab)
        print(f"lab add tomli_w: {judged(added, added < ADD_TARGET)} s, target {ADD_TARGET} s")


if __name__ == "__main__":
    main()
