"""How long an environment takes: with uv, and with pip, both with and without what they cache."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
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
PIP_ALONE = {"PIP_NOTHING_OF_UV": "1"}  # a setting that uv does not have, so pip has to install


def made(lab: Path, cache: Path, **variables: str) -> tuple[float, Path]:
    """Return the seconds that the environment of a lab takes, with its caches in `cache`."""
    shutil.rmtree(cache / "taglab", ignore_errors=True)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), **variables}
    tools = cache / "tools"  # made before the clock starts: once for all environments
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "requirements.txt").touch()
    for folder in (tools, lab):
        started = perf_counter()
        done = subprocess.run([sys.executable, "-c", MAKE, SOURCE, folder], check=True, text=True,
                              stdout=subprocess.PIPE, env=environment)
    return perf_counter() - started, Path(done.stdout.splitlines()[-1])


def main() -> None:
    """Print one line for each."""
    with tempfile.TemporaryDirectory() as folder:
        lab, seconds = bake(Path(folder)), {}
        for tool, variables in (("uv", {}), ("pip", PIP_ALONE)):
            for kind in ("cold", "warm"):
                seconds[tool, kind], environment = made(lab, Path(folder, tool), **variables)
            started = perf_counter()
            subprocess.run([environment / "bin" / "python", "-c", IMPORT], check=True)
            print(f"{tool}: environment {seconds[tool, 'cold']:.1f} s with empty caches, "
                  f"{seconds[tool, 'warm']:.1f} s with full ones; "
                  f"first imports {perf_counter() - started:.1f} s")
    for kind in ("cold", "warm"):
        print(f"{kind}: uv takes 1/{seconds['pip', kind] / seconds['uv', kind]:.1f} of pip's time")


if __name__ == "__main__":
    main()
