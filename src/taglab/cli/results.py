"""The commands on results: `lab runs`, `ui`, `goals`, `tensorboard`, `replay`.

They need MLflow, so each continues as a Python process in the lab's environment.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from taglab.cli.builds import chosen_build
from taglab.cli.output import as_json_option, progress
from taglab.runner.environment import ensure_environment
from taglab.runner.settings import machine_variables, python_path, read_settings

_NEWEST = 0  # no build has this number


@click.command()
@as_json_option
@click.option("--build", type=int, is_flag=False, flag_value=_NEWEST,
              help="Only those of this build; without a number, of the newest.")
@click.pass_obj
def runs(lab: Path, as_json: bool, build: int | None) -> NoReturn:
    """Print the newest runs with their tag, build and metrics."""
    if build == _NEWEST:
        build = chosen_build(lab, None).number
    words = [] if build is None else ["--build", str(build)]
    become_python(lab, "-m", "taglab.tracking", "summary", *words, as_json=as_json)


@click.command()
@click.option("--port", type=int, default=5000, show_default=True, help="The first port to try.")
@click.pass_obj
def ui(lab: Path, port: int) -> NoReturn:
    """Show the results in MLflow's user interface."""
    become_python(lab, "-m", "taglab.tracking", "ui", "--port", str(port))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
@click.pass_obj
def tensorboard(lab: Path, arguments: tuple[str, ...]) -> NoReturn:
    """Show the TensorBoard events of all runs.

    ARGUMENTS are passed on to TensorBoard, such as --port 6007.
    """
    become_python(lab, "-m", "taglab.training.tensorboard", *arguments)


@click.command()
@click.argument("folders", nargs=-1)
@as_json_option
@click.pass_obj
def replay(lab: Path, folders: tuple[str, ...], as_json: bool) -> NoReturn:
    """Send results that were kept while the tracking server was down.

    FOLDERS hold such results; without any, all that are kept on this machine are sent.
    """
    become_python(lab, "-m", "taglab.tracking", "replay", *map(os.path.abspath, folders),
                  as_json=as_json)


@click.command()
@as_json_option
@click.pass_obj
def goals(lab: Path, as_json: bool) -> NoReturn:
    """Judge the latest finished runs by goals/goals.toml."""
    become_python(lab, "-m", "taglab.goals", as_json=as_json)


def become_python(lab: Path, *arguments: str, as_json: bool = False) -> NoReturn:
    """Replace this process by `python ARGUMENTS` in the environment of the current requirements."""
    with progress(as_json):
        python, variables = lab_python(lab, click.echo)
    os.chdir(lab)
    os.execve(python, [python, *arguments, *(["--json"] if as_json else [])], variables)


def lab_python(lab: Path, report: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """Return Python in the environment of the current requirements, and the variables it needs."""
    environment = ensure_environment(lab, report)
    variables = machine_variables(read_settings(lab), lab, lab / ".lab", environment)
    caches = {name: value for name, value in variables.items()
              if name.startswith("XDG") or name == "LAB_DATA"}
    return (str(environment / "bin" / "python"),
            {**os.environ, **caches, "PYTHONPATH": python_path(lab)})
