"""The `lab` command."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from time import time

import click

from local.builds import Build, Builds
from local.environment import EnvironmentFailure, ensure_environment
from local.outcome import SUCCESS
from local.receive import follow, receive
from local.report import build_table
from local.workspace import machine_variables

FAILED, WRONG_USAGE = 1, 3  # never 2, which a cluster takes for a crash


def main(lab: Path) -> int:
    """Run the command that sys.argv names for the lab in `lab`; returns an exit status."""
    if sys.argv[1:] == ["receive"]:
        return receive(lab, sys.stdin)
    try:
        return _commands.main(prog_name="lab", obj=lab, standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        return WRONG_USAGE
    except click.ClickException as error:
        error.show()
        return FAILED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG_USAGE
    except (click.Abort, KeyboardInterrupt):
        return 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _commands() -> None:
    """Run the experiments of this lab, and see them."""


@_commands.command("init")
@click.pass_obj
def _init(lab: Path) -> int:
    """Make .venv, .lab and the local remote, or renew them."""
    from local.init import init
    return init(lab)


@_commands.command("builds")
@click.pass_obj
def _builds(lab: Path) -> None:
    """List the builds, newest first."""
    builds = Builds(lab)
    builds.end_interrupted(time())
    found = builds.all()
    if not found:
        click.echo("No builds yet. Type: git tag run-examples-v1 && "
                   "git push origin run-examples-v1")
    else:
        click.echo(build_table(reversed(found), time()))


@_commands.command("logs")
@click.argument("number", type=int)
@click.option("--follow", "-f", "following", is_flag=True, help="Wait for the build's end.")
@click.pass_obj
def _logs(lab: Path, number: int, following: bool) -> int:
    """Print the log of build NUMBER."""
    build = _known_build(lab, number)
    if following:
        build = follow(lab, number)
        return 0 if build.status == SUCCESS else FAILED
    with Builds(lab).log(number).open("rb") as log:
        while chunk := log.read(1 << 20):
            sys.stdout.buffer.write(chunk)
    return 0


@_commands.command("ui")
@click.option("--port", type=int, default=5000, show_default=True, help="Where to listen.")
@click.pass_obj
def _ui(lab: Path, port: int) -> None:
    """Show the results in MLflow's user interface."""
    _become_python(lab, "-m", "lib.tracking", "ui", "--port", str(port))


@_commands.command("goals")
@click.pass_obj
def _goals(lab: Path) -> None:
    """Judge the newest finished runs by goals/goals.toml."""
    _become_python(lab, "goals/main.py")


@_commands.command("new")
@click.argument("name")
@click.pass_obj
def _new(lab: Path, name: str) -> None:
    """Write a process NAME: its folder and its pipeline."""
    from local.new import NewProcessError, new_process
    try:
        click.echo(new_process(lab, name))
    except NewProcessError as error:
        raise click.ClickException(str(error)) from error


@_commands.command("add")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def _add(lab: Path, names: tuple[str, ...]) -> None:
    """Pin packages NAMES and what they need in requirements.txt, and install them."""
    from local.add import add_packages
    try:
        lines = add_packages(lab, list(names), click.echo)
    except EnvironmentFailure as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(["Added to requirements.txt; commit it with what uses them:", *lines])
               if lines else "requirements.txt has them already")


def _known_build(lab: Path, number: int) -> Build:
    builds = Builds(lab)
    builds.end_interrupted(time())
    build = builds.load(number)
    if build is None:
        newest = max(builds.numbers(), default=0)
        known = f"the newest is {newest}" if newest else "there are none yet"
        raise click.ClickException(f"there is no build {number}: {known}. Type: lab builds")
    return build


def _become_python(lab: Path, *arguments: str) -> None:
    """Go on as `python ARGUMENTS` in the environment of the requirements.txt that is here now."""
    try:
        environment = ensure_environment(lab, click.echo)
    except EnvironmentFailure as error:
        raise click.ClickException(str(error)) from error
    here = {name: value for name, value in
            machine_variables(lab, lab / ".lab", environment).items() if name.startswith("XDG")}
    python = str(environment / "bin" / "python")
    os.chdir(lab)
    os.execve(python, [python, *arguments],
              {**os.environ, **here, "PYTHONPATH": str(lab / "lab")})
