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
    said = []
    for folder in state_folders(lab):
        # The interpreter of such a process has MLflow; to find another may take minutes.
        if marker := next(lost_runs(folder), None):
            said.append(_ask(lab, folder, marker.python))
    return "\n".join(filter(None, said))


def state_folders(lab: Path) -> list[Path]:
    """Return the state folders of this lab: its own, this shell's and that of its builds."""
    states = ["", os.environ.get("LAB_STATE"), _state_of_builds(lab)]
    folders = [state_folder({"LAB_ROOT": str(lab), "LAB_STATE": state}).absolute()
               for state in states if state is not None and "://" not in state]
    return list(dict.fromkeys(folders))


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
