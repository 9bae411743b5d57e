"""Makes the packages of a lab importable in the template's own .venv, for the tests that use them.

The environment is the one that the labs of the tests have, so it is made once.
"""
from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path

from jinja2 import Environment

TEMPLATE = Path(__file__).parents[1]
sys.path.insert(0, str(TEMPLATE / "src"))


def lab_requirements(deep_learning: str) -> str:
    """Return the requirements.txt of a lab that was baked with this answer."""
    file = TEMPLATE / "{{cookiecutter.project_slug}}" / "requirements.txt"
    template = Environment(keep_trailing_newline=True).from_string(file.read_text())
    return template.render(cookiecutter={"deep_learning": deep_learning})


def main() -> None:
    """Write a .pth file that names the environment's folder of packages."""
    from taglab.runner.environment import ensure_environment

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "requirements.txt").write_text(lab_requirements("pytorch"), encoding="utf-8")
        environment = ensure_environment(Path(folder), lambda line: print(line, flush=True))
    [packages] = (environment / "lib").glob("python*/site-packages")
    Path(sysconfig.get_path("purelib"), "lab_packages.pth").write_text(f"{packages}\n")


if __name__ == "__main__":
    main()
