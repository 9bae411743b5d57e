"""`lab add NAMES`: pins packages and their dependencies in requirements.txt."""
from __future__ import annotations

from pathlib import Path

from taglab.cli.init import make_venv
from taglab.runner.environment import Report, ensure_environment, ensure_installer
from taglab.runner.install import resolve


def add_packages(lab: Path, names: list[str], report: Report) -> list[str]:
    """Pin the newest versions that are compatible with what is already pinned, and install them.

    Returns the new lines of requirements.txt. Raises LabError if there is no such
    version, leaving the file as it is.
    """
    requirements = lab / "requirements.txt"
    environment = ensure_environment(lab, report)
    lines = resolve(requirements, names, environment, ensure_installer(report), report)
    if lines:
        before = requirements.read_text(encoding="utf-8").rstrip("\n")
        requirements.write_text("\n".join([before, *lines, ""]), encoding="utf-8")
        make_venv(lab, ensure_environment(lab, report))
    return lines
