"""The `lab` command."""
from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import sleep, time

import click

from local import LabError
from local.builds import Build, Builds
from local.drone.documents import FileError
from local.drone.outcome import FINAL, SUCCESS
from local.environment import (cached_environments, ensure_environment, prune_environments,
                               requirements_hash)
from local.git import git
from local.interrupted import end_interrupted
from local.receive import receive
from local.report import build_table, environment_table, findings_text, status_table
from local.secrets import read_secrets
from local.workspace import machine_variables

FAILED, WRONG_USAGE = 1, 3  # never 2, which a cluster takes for a crash
_FIRST = "No builds yet. Type: git tag run-examples-v1 && git push origin run-examples-v1"


def main(lab: Path) -> int:
    """Run the command that sys.argv names for the lab in `lab`; returns an exit status."""
    if sys.argv[1:] == ["receive"]:
        return receive(lab, sys.stdin)
    try:
        return _commands.main(prog_name="lab", obj=lab, standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        return WRONG_USAGE
    except FileError as error:
        click.echo(f"Error in .drone.yml: {error}\nType: lab lint", err=True)
        return FAILED
    except OSError as error:
        click.echo(f"Error: {error.filename or 'the output'}: {error.strerror}", err=True)
        return FAILED
    except LabError as error:
        click.echo(f"Error: {error}", err=True)
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        return 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _commands() -> None:
    """Run the experiments of this lab, and see them."""


_number = click.argument("number", type=int)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@_commands.command("init")
@click.pass_obj
def _init(lab: Path) -> int:
    """Make .venv, .lab and the local remote, or renew them."""
    from local.init import init
    return init(lab)


@_commands.command("status")
@_as_json
@click.pass_obj
def _status(lab: Path, as_json: bool) -> None:
    """Show what runs now and how each pipeline ended last."""
    builds = _all_builds(lab)
    _show(builds, as_json, lambda: status_table(builds, time()) or _FIRST)


@_commands.command("builds")
@_as_json
@click.pass_obj
def _builds(lab: Path, as_json: bool) -> None:
    """List the builds, newest first."""
    builds = _all_builds(lab)[::-1]
    _show(builds, as_json, lambda: build_table(builds, time()) if builds else _FIRST)


@_commands.command("logs")
@_number
@click.option("--follow", "-f", "following", is_flag=True, help="Wait for the build's end.")
@click.pass_obj
def _logs(lab: Path, number: int, following: bool) -> int:
    """Print the log of build NUMBER."""
    _known_build(lab, number)
    if following:
        return _follow(lab, number)
    with Builds(lab).log(number).open("rb") as log:
        while chunk := log.read(1 << 20):
            sys.stdout.buffer.write(chunk)
    return 0


@_commands.command("lint")
@_as_json
@click.pass_obj
def _lint(lab: Path, as_json: bool) -> int:
    """Check .drone.yml: what Drone rejects, and what it accepts and nobody wants."""
    from local.drone.lint import lint
    text = (lab / ".drone.yml").read_text(encoding="utf-8", errors="replace")
    files = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=lab)
    found = lint(text, files=files.split("\0"), secrets=read_secrets(lab) or None,
                 requirements=requirements_hash(lab))
    _show(found, as_json, lambda: findings_text(found) or ".drone.yml: nothing found")
    return FAILED if any(each.level == "error" for each in found) else 0


@_commands.command("launch")
@click.argument("pipeline")
@click.pass_obj
def _launch(lab: Path, pipeline: str) -> int:
    """Tag the newest commit so that PIPELINE runs, and push the tag."""
    from local.launch import launch, run
    status = run(lab, launch(lab, pipeline))
    newest = Builds(lab).load(max(Builds(lab).numbers(), default=0))
    return FAILED if status or newest is None or newest.status != SUCCESS else 0


@_commands.command("restart")
@_number
@click.pass_obj
def _restart(lab: Path, number: int) -> int:
    """Run build NUMBER again: the same commit and tag, as a new build."""
    from local.build_run import drone_file
    from local.receive import create_build, start
    old = _known_build(lab, number)
    created = create_build(lab, old.commit, drone_file(lab, old.commit), parent=number)
    if created is None:
        return FAILED
    start(lab, *created)
    return _follow(lab, created[0].number)


@_commands.command("cancel")
@_number
@click.pass_obj
def _cancel(lab: Path, number: int) -> int:
    """End build NUMBER and all that it runs."""
    builds, build = Builds(lab), _known_build(lab, number)
    if build.status in FINAL:
        raise LabError(f"build {number} has ended already: {build.status}")
    while (build := builds.load(number)).status not in FINAL:
        if holder := builds.holder(number):
            os.kill(holder, signal.SIGTERM)
        end_interrupted(lab)
        sleep(0.2)
    click.echo(f"build {number}: {build.status}")
    return 0


@_commands.command("envs")
@_as_json
@click.option("--prune", is_flag=True, help="Remove those not used for some time.")
@click.option("--days", type=float, default=30, show_default=True, help="That time.")
@click.pass_obj
def _envs(lab: Path, as_json: bool, prune: bool, days: float) -> None:
    """List the cached environments of all your labs, their size and last use."""
    if prune:
        for each in prune_environments(days, time()):
            click.echo(f"removed {each.name} ({each.size / 1e6:.0f} MB)", err=as_json)
    found = cached_environments()
    _show(found, as_json, lambda: environment_table(found, time()))


@_commands.command("ui")
@click.option("--port", type=int, default=5000, show_default=True, help="Where to listen.")
@click.pass_obj
def _ui(lab: Path, port: int) -> None:
    """Show the results in MLflow's user interface."""
    _become_python(lab, "-m", "lib.tracking", "ui", "--port", str(port))


@_commands.command("tensorboard", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1)
@click.pass_obj
def _tensorboard(lab: Path, words: tuple[str, ...]) -> None:
    """Show the TensorBoard events of all runs; WORDS are TensorBoard's own, as --port 6007."""
    if not (lab / "lab/lib/tensorboard.py").exists():
        raise LabError("this lab was made without PyTorch, which writes such events")
    _become_python(lab, "-m", "lib.tensorboard", *words)


@_commands.command("replay")
@click.argument("folders", nargs=-1)
@click.pass_obj
def _replay(lab: Path, folders: tuple[str, ...]) -> None:
    """Send the results that waited for a tracking server which was away."""
    _become_python(lab, "-m", "lib.tracking", "replay", *map(os.path.abspath, folders))


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
    from local.new import new_process
    click.echo(new_process(lab, name))


@_commands.command("add")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def _add(lab: Path, names: tuple[str, ...]) -> None:
    """Pin packages NAMES and what they need in requirements.txt, and install them."""
    from local.add import add_packages
    lines = add_packages(lab, list(names), click.echo)
    click.echo("\n".join(["Added to requirements.txt; commit it with what uses them:", *lines])
               if lines else "requirements.txt has them already")


@_commands.command("image")
@click.argument("name", required=False)
@click.pass_obj
def _image(lab: Path, name: str | None) -> None:
    """Let the steps of .drone.yml name the image of this requirements.txt, as NAME:HASH."""
    from local.image import name_image
    click.echo(name_image(lab, name))


@_commands.command("connect")
@click.argument("url")
@click.pass_obj
def _connect(lab: Path, url: str) -> None:
    """Make the team's server at URL the remote `origin`, and this machine `local`."""
    from local.connect import connect
    click.echo(connect(lab, url))


def _show(found: list, as_json: bool, as_text: Callable[[], str]) -> None:
    """Print dataclasses as JSON, or a text; click takes colours off where no terminal is."""
    click.echo(json.dumps([asdict(each) for each in found], indent=1) if as_json else as_text())


def _all_builds(lab: Path) -> list[Build]:
    builds = Builds(lab)
    end_interrupted(lab)
    return builds.all()


def _follow(lab: Path, number: int) -> int:
    from local.receive import follow
    return 0 if follow(lab, number).status == SUCCESS else FAILED


def _known_build(lab: Path, number: int) -> Build:
    builds = Builds(lab)
    end_interrupted(lab)
    build = builds.load(number)
    if build is None:
        newest = max(builds.numbers(), default=0)
        known = f"the newest is {newest}" if newest else "there are none yet"
        raise LabError(f"there is no build {number}: {known}. Type: lab builds")
    return build


def _become_python(lab: Path, *arguments: str) -> None:
    """Go on as `python ARGUMENTS` in the environment of the requirements.txt that is here now."""
    environment = ensure_environment(lab, click.echo)
    here = {name: value for name, value in
            machine_variables(lab, lab / ".lab", environment).items() if name.startswith("XDG")}
    python = str(environment / "bin" / "python")
    os.chdir(lab)
    os.execve(python, [python, *arguments],
              {**os.environ, **here, "PYTHONPATH": str(lab / "lab")})
