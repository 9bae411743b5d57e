"""The commands on results: `lab ui`, `goals`, `tensorboard`, `replay`.

What needs MLflow runs as a Python process in the lab's environment.
"""
from __future__ import annotations

import os
from pathlib import Path

import click

from taglab.runner.environment import ensure_environment
from taglab.runner.settings import machine_variables, python_path, read_settings


@click.command("ui")
@click.option("--port", type=int, default=5000, show_default=True, help="Where to listen.")
@click.pass_obj
def ui(lab: Path, port: int) -> None:
    """Show the results in MLflow's user interface."""
    _become_python(lab, "-m", "taglab.tracking", "ui", "--port", str(port))


@click.command("tensorboard", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1)
@click.pass_obj
def tensorboard(lab: Path, words: tuple[str, ...]) -> None:
    """Show the TensorBoard events of all runs; WORDS are TensorBoard's own, as --port 6007."""
    _become_python(lab, "-m", "taglab.training.tensorboard", *words)


@click.command("replay")
@click.argument("folders", nargs=-1)
@click.pass_obj
def replay(lab: Path, folders: tuple[str, ...]) -> None:
    """Send the results that waited for a tracking server which was away."""
    _become_python(lab, "-m", "taglab.tracking", "replay", *map(os.path.abspath, folders))


@click.command("goals")
@click.pass_obj
def goals(lab: Path) -> None:
    """Judge the newest finished runs by goals/goals.toml."""
    _become_python(lab, "-m", "taglab.goals")


def _become_python(lab: Path, *arguments: str) -> None:
    """Go on as `python ARGUMENTS` in the environment of the requirements.txt that is here now."""
    environment = ensure_environment(lab, click.echo)
    variables = machine_variables(read_settings(lab), lab, lab / ".lab", environment)
    here = {name: value for name, value in variables.items() if name.startswith("XDG")}
    python = str(environment / "bin" / "python")
    os.chdir(lab)
    os.execve(python, [python, *arguments],
              {**os.environ, **here, "PYTHONPATH": python_path(lab)})
