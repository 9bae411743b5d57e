"""Lets the library end the runs of this machine whose process is gone."""
from __future__ import annotations

import os
from pathlib import Path

from taglab.errors import LabError
from taglab.lab import state_folder
from taglab.running import lost_runs
from taglab.runner.settings import FILE, machine_variables, python_path, read_settings


def end_lost_runs(lab: Path) -> str:
    """Mark the runs as killed whose process is gone; return what to say of it, often "".

    The runs of builds, and those of processes that were started by hand. Where there are none, as
    a rule, this only looks into a folder.
    """
    states = ["", os.environ.get("LAB_STATE"), _state_of_builds(lab)]
    said = []
    for state in {each: None for each in states if each is not None and "://" not in each}:
        folder = state_folder({"LAB_ROOT": str(lab), "LAB_STATE": state}).absolute()
        # The interpreter of such a process has MLflow; to find another may take minutes.
        if marker := next(lost_runs(folder), None):
            said.append(_ask(lab, folder, marker.python))
    return "\n".join(filter(None, said))


def _state_of_builds(lab: Path) -> str | None:
    """Return the state folder of builds where the lab's own settings may name another one."""
    if not (lab / FILE).exists():
        return None
    try:
        return machine_variables(read_settings(lab), lab, lab / ".lab", None).get("LAB_STATE")
    except LabError:  # a push says what is wrong with them
        return None


def _ask(lab: Path, state: Path, python: str) -> str:
    import subprocess  # `lab status` must not wait for it

    try:
        return subprocess.run(
            [python, "-P", "-m", "taglab.tracking", "end-lost"], cwd=lab,
            env={**os.environ, "PYTHONPATH": python_path(lab), "LAB_ROOT": str(lab),
                 "LAB_STATE": str(state)},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
            errors="replace").stdout.strip()
    except OSError:  # that interpreter is gone; the next `start_run` ends them
        return ""
