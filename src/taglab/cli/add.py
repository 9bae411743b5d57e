"""`lab add NAMES`: pins packages and their dependencies in requirements.txt."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

from taglab.cli.added import check_names, with_added
from taglab.cli.init import make_venv
from taglab.runner.environment import EnvironmentFailure, Report, ensure_environment


def add_packages(lab: Path, names: list[str], report: Report) -> list[str]:
    """Pin the newest versions that are compatible with what is already pinned, and install them.

    Returns the new lines of requirements.txt. Raises LabError for a word that names no package,
    EnvironmentFailure if there is no such version; the file is then as it was.
    """
    check_names(names)
    requirements = lab / "requirements.txt"
    environment = ensure_environment(lab, report)
    found = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "install", "--dry-run", "--quiet", "--quiet",
         "--disable-pip-version-check", "--no-input", "--report", "-", "-r", requirements, *names],
        cwd=lab, capture_output=True, text=True)
    if found.returncode != 0:
        raise EnvironmentFailure(f"pip found no version of {' '.join(names)} that fits "
                                 f"requirements.txt:\n{found.stderr.strip()}")
    packages = [package["metadata"] for package in json.loads(found.stdout)["install"]]
    lines = sorted(f"{package['name']}=={package['version']}" for package in packages)
    if lines:
        before = requirements.read_text(encoding="utf-8")
        requirements.write_text(with_added(before, names, lines), encoding="utf-8")
        make_venv(lab, ensure_environment(lab, report))
    return lines
