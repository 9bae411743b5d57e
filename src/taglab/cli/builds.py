"""The commands on builds: `lab status`, `builds`, `logs`, `launch`, `restart`, `cancel`."""
from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from time import sleep, time

import click

from taglab.cli.launch import next_tag_commands, run
from taglab.cli.output import FAILED, as_json_option, show
from taglab.engines.drone.outcome import FINAL, SUCCESS
from taglab.errors import LabError
from taglab.runner.build_run import drone_file
from taglab.runner.builds import Build, Builds
from taglab.runner.interrupted import end_interrupted
from taglab.runner.receive import create_build, follow, start
from taglab.runner.tables import build_table, status_table

NO_BUILDS = "No builds yet. Type: git tag run-examples-v1 && git push origin run-examples-v1"

number_argument = click.argument("number", type=int)


@click.command("status")
@as_json_option
@click.pass_obj
def status(lab: Path, as_json: bool) -> None:
    """Show what runs now and how each pipeline ended last."""
    builds = _all_builds(lab)
    show(builds, as_json, lambda: status_table(builds, time()) or NO_BUILDS)


@click.command("builds")
@as_json_option
@click.pass_obj
def list_builds(lab: Path, as_json: bool) -> None:
    """List the builds, newest first."""
    found = _all_builds(lab)[::-1]
    show(found, as_json, lambda: build_table(found, time()) if found else NO_BUILDS)


@click.command("logs")
@number_argument
@click.option("--follow", "-f", "following", is_flag=True, help="Wait for the build's end.")
@click.pass_obj
def logs(lab: Path, number: int, following: bool) -> int:
    """Print the log of build NUMBER."""
    _known_build(lab, number)
    if following:
        return _follow(lab, number)
    with Builds(lab).log(number).open("rb") as log:
        while chunk := log.read(1 << 20):
            sys.stdout.buffer.write(chunk)
    return 0


@click.command("launch")
@click.argument("pipeline")
@click.pass_obj
def launch(lab: Path, pipeline: str) -> int:
    """Tag the newest commit so that PIPELINE runs, and push the tag."""
    status = run(lab, next_tag_commands(lab, pipeline))
    newest = Builds(lab).load(max(Builds(lab).numbers(), default=0))
    return FAILED if status or newest is None or newest.status != SUCCESS else 0


@click.command("restart")
@number_argument
@click.pass_obj
def restart(lab: Path, number: int) -> int:
    """Run build NUMBER again: the same commit and tag, as a new build."""
    old = _known_build(lab, number)
    created = create_build(lab, old.commit, drone_file(lab, old.commit), parent=number)
    if created is None:
        return FAILED
    start(lab, *created)
    return _follow(lab, created[0].number)


@click.command("cancel")
@number_argument
@click.pass_obj
def cancel(lab: Path, number: int) -> int:
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


def _all_builds(lab: Path) -> list[Build]:
    builds = Builds(lab)
    end_interrupted(lab)
    return builds.all()


def _follow(lab: Path, number: int) -> int:
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
