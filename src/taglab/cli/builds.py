"""The commands on builds: `lab status`, `builds`, `logs`, `launch`, `restart`, `cancel`.

What only some of them need is imported in them: `lab status` must not wait for it.
"""
from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep, time

import click

from taglab.cli.output import FAILED, as_json_option, show
from taglab.engines.drone.outcome import FINAL, SUCCESS
from taglab.errors import LabError
from taglab.runner.builds import INTERRUPTED, Build, Builds
from taglab.runner.interrupted import end_interrupted
from taglab.runner.lost_runs import end_lost_runs
from taglab.runner.tables import build_table, status_table

NO_BUILDS = "No builds yet. Type: git tag run-examples-v1 && git push origin run-examples-v1"

number_argument = click.argument("number", type=int)


@click.command()
@as_json_option
@click.pass_obj
def status(lab: Path, as_json: bool) -> None:
    """Show what is running and how each pipeline ended last."""
    if said := end_lost_runs(lab):
        click.echo(said, err=True)
    builds = _all_builds(lab)
    show(builds, as_json, lambda: status_table(builds, time()) or NO_BUILDS)


@click.command("builds")
@as_json_option
@click.pass_obj
def list_builds(lab: Path, as_json: bool) -> None:
    """List the builds, newest first."""
    builds = _all_builds(lab)[::-1]
    show(builds, as_json, lambda: build_table(builds, time()) if builds else NO_BUILDS)


@click.command()
@number_argument
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until the build ends.")
@click.pass_obj
def logs(lab: Path, number: int, following: bool) -> int:
    """Print the log of build NUMBER."""
    _find_build(lab, number)
    if following:
        return _follow(lab, number)
    with Builds(lab).log(number).open("rb") as log:
        while chunk := log.read(1 << 20):
            sys.stdout.buffer.write(chunk)
    return 0


@click.command()
@click.argument("name")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--sweep", "sweeps", multiple=True, metavar="KEY=VALUE,VALUE...",
              help="A tag for each value; of several sweeps, for each combination.")
@click.option("--message", "-m", default="", help="What the run is to answer.")
@click.option("--limit", type=int, default=20, show_default=True,
              help="How many tags a sweep may make.")
@click.pass_obj
def launch(lab: Path, name: str, parameters: tuple[str, ...], sweeps: tuple[str, ...],
           message: str, limit: int) -> int:
    """Tag the current commit to run NAME, and push the tag.

    NAME is that of a process or a pipeline. KEY is a key of its config.toml, with dots for tables;
    where the tag runs several processes that have it, PROCESS.KEY. The tag's message keeps the
    values, and no commit is made.
    """
    from taglab.cli import launch as launching

    remote, tags = launching.new_tags(lab, name, parameters, sweeps, message, limit)
    before = max(Builds(lab).numbers(), default=0)
    exit_status = launching.launch(lab, remote, tags)
    ended = {build.name: build.status for number in Builds(lab).numbers() if number > before
             if (build := Builds(lab).load(number))}
    failed = any(ended.get(tag.name) != SUCCESS for tag in tags)
    return FAILED if exit_status or failed else 0


@click.command()
@number_argument
@click.pass_obj
def restart(lab: Path, number: int) -> int:
    """Run the commit and tag of build NUMBER again, as a new build."""
    from taglab.runner.build_run import drone_file
    from taglab.runner.receive import create_build, start
    from taglab.runner.workspace import pushed_object

    old = _find_build(lab, number)
    created = create_build(lab, old.commit, drone_file(lab, old.commit),
                           pushed_object(lab, number) or old.commit.sha, parent=number)
    if created is None:
        return FAILED
    start(lab, *created)
    return _follow(lab, created[0].number)


@click.command()
@number_argument
@click.pass_obj
def cancel(lab: Path, number: int) -> None:
    """Stop build NUMBER and all its processes."""
    build = _find_build(lab, number)
    if build.status in FINAL:
        raise LabError(f"build {number} has already ended: {build.status}")
    while build.status not in FINAL:
        if holder := Builds(lab).holder(number):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(holder, signal.SIGTERM)
        sleep(0.2)
        build = _find_build(lab, number)
    click.echo(f"build {number}: {build.status}")


def _all_builds(lab: Path) -> list[Build]:
    builds = Builds(lab).all()
    end_interrupted(lab, [each.number for each in builds if each.error == INTERRUPTED])
    return builds


def _find_build(lab: Path, number: int) -> Build:
    """Return a build. Raises LabError when there is none with this number."""
    builds = Builds(lab)
    end_interrupted(lab, [number])
    build = builds.load(number)
    if build is None:
        newest = max(builds.numbers(), default=0)
        known = f"the newest is {newest}" if newest else "there are none yet"
        raise LabError(f"there is no build {number}: {known}. Type: lab builds")
    return build


def _follow(lab: Path, number: int) -> int:
    from taglab.runner.receive import follow

    return 0 if follow(lab, number).status == SUCCESS else FAILED
