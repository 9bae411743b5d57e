"""Cleans up after a runner that died: its processes, its files, its MLflow runs, its record."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from taglab.engines.drone.outcome import FINAL
from taglab.runner.builds import INTERRUPTED, Builds, interrupted
from taglab.runner.children import kill_processes_with
from taglab.runner.environment import environment_path
from taglab.runner.folders import remove_folder
from taglab.runner.library import ask_library
from taglab.runner.settings import machine_variables, read_settings


def end_interrupted(lab: Path, numbers: Iterable[int] | None = None) -> None:
    """Mark each build as `error: interrupted` whose runner has died: those of `numbers`, or all."""
    builds = Builds(lab)
    for number in builds.numbers() if numbers is None else numbers:
        build = builds.recorded(number)
        if build and build.status not in FINAL and not builds.is_held(number):
            try:
                _end(builds, number)
            except OSError:  # a full disk: the next command tries again
                pass


def _end(builds: Builds, number: int) -> None:
    with builds.held(number):
        build = builds.recorded(number)
        if build is None or build.status in FINAL:  # another command was faster
            return
        folder = builds.folder(number)
        build = interrupted(build, builds.log(number))
        kill_processes_with(f"DRONE_BUILD_LINK=file://{builds.log(number)}")
        remove_folder(folder / "work")
        requirements = builds.requirements(number)
        if (requirements / "requirements.txt").exists():
            environment = environment_path(requirements)
            if (environment / "ready").exists():
                variables = machine_variables(read_settings(builds.lab), builds.lab, folder,
                                              environment)
                ask_library(builds.lab, build.commit.sha, folder, environment / "bin" / "python",
                            variables, "kill", number)
        builds.save(build)
        with builds.log(number).open("a", encoding="utf-8") as log:
            print(f"error: {INTERRUPTED}", file=log)
