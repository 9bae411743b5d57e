"""`lab add NAMES`: pins packages and their dependencies in requirements.txt."""
from __future__ import annotations

from pathlib import Path

from taglab.cli.added import check_names, with_added
from taglab.cli.init import make_venv
from taglab.runner.environment import Report, ensure_environment, ensure_installer
from taglab.runner.install import resolve


def add_packages(lab: Path, names: list[str], report: Report) -> list[str]:
    """Pin the newest versions that are compatible with what is already pinned, and install them.

    Returns the new lines of requirements.txt. Raises LabError for a word that names no package, and
    where there is no such version; the file is then as it was.
    """
    check_names(names)
    requirements = lab / "requirements.txt"
    environment = ensure_environment(lab, report)
    lines = resolve(requirements, names, environment, ensure_installer(report), report)
    if lines:
        before = requirements.read_text(encoding="utf-8")
        requirements.write_text(with_added(before, names, lines), encoding="utf-8")
        make_venv(lab, ensure_environment(lab, report))
    return lines
