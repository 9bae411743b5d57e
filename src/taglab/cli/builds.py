"""The commands on builds: `lab status`, `builds`, `logs`, `launch`, `restart`, `cancel`.

What only some of them need is imported in them: `lab status` must not wait for it.
"""
from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time

import click

from taglab.cli.output import FAILED, as_json_option, progress, show, show_json
from taglab.engines.drone.outcome import FINAL, SUCCESS
from taglab.errors import LabError
from taglab.runner.builds import INTERRUPTED, Build, Builds
from taglab.runner.interrupted import end_interrupted
from taglab.runner.lost_runs import end_lost_runs
from taglab.runner.tables import build_table, status_table

NO_BUILDS = "No builds yet. Type: git tag run-examples-v1 && git push origin run-examples-v1"

number_argument = click.argument("number", type=int, required=False)


@dataclass(frozen=True)
class BuildLog:
    """What `lab logs --json` prints."""

    build: Build
    lines: list[str]


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
@as_json_option
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until the build ends.")
@click.pass_obj
def logs(lab: Path, number: int | None, as_json: bool, following: bool) -> int:
    """Print the log of build NUMBER, or of the newest one."""
    build = chosen_build(lab, number)
    exit_status = 0
    if following:
        with progress(as_json):
            exit_status = _follow(lab, build.number)
    if as_json:
        text = Builds(lab).log(build.number).read_text(encoding="utf-8", errors="replace")
        found = BuildLog(_find_build(lab, build.number), text.splitlines())
        show_json(found)
    elif not following:
        with Builds(lab).log(build.number).open("rb") as log:
            while chunk := log.read(1 << 20):
                sys.stdout.buffer.write(chunk)
    return exit_status


@click.command()
@click.argument("name")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@as_json_option
@click.option("--sweep", "sweeps", multiple=True, metavar="KEY=VALUE,VALUE...",
              help="A tag for each value; of several sweeps, for each combination.")
@click.option("--message", "-m", default="", help="What the run is to answer.")
@click.option("--limit", type=int, default=20, show_default=True,
              help="How many tags a sweep may make.")
@click.pass_obj
def launch(lab: Path, name: str, parameters: tuple[str, ...], as_json: bool,
           sweeps: tuple[str, ...], message: str, limit: int) -> int:
    """Tag the current commit to run NAME, and push the tag.

    NAME is that of a process or a pipeline. KEY is a key of its config.toml, with dots for tables;
    where the tag runs several processes that have it, PROCESS.KEY. The tag's message keeps the
    values, and no commit is made.
    """
    from taglab.cli import launch as launching

    remote, tags = launching.new_tags(lab, name, parameters, sweeps, message, limit)
    before = max(Builds(lab).numbers(), default=0)
    with progress(as_json):
        exit_status = launching.launch(lab, remote, tags)
    made = [build for number in Builds(lab).numbers() if number > before
            if (build := Builds(lab).load(number))]
    ended = {build.name: build for build in made if build.name in {tag.name for tag in tags}}
    if as_json:
        show_json([*ended.values()])
    failed = [tag for tag in tags if tag.name not in ended or ended[tag.name].status != SUCCESS]
    return FAILED if exit_status or failed else 0


@click.command()
@number_argument
@as_json_option
@click.option("--skip-done", is_flag=True, help="Skip processes of which a run of the same commit "
              "and parameters has finished.")
@click.pass_obj
def restart(lab: Path, number: int | None, as_json: bool, skip_done: bool) -> int:
    """Run the commit and tag of build NUMBER again, as a new build.

    Without NUMBER, those of the newest build that has ended.
    """
    from taglab.runner.build_run import drone_file
    from taglab.runner.receive import create_build, start
    from taglab.runner.workspace import pushed_object

    old = chosen_build(lab, number, lambda build: build.status in FINAL, "that has ended")
    with progress(as_json):
        created = create_build(lab, old.commit, drone_file(lab, old.commit),
                               pushed_object(lab, old.number) or old.commit.sha,
                               parent=old.number, skip_done=skip_done)
        if created is None:
            return FAILED
        start(lab, *created)
        exit_status = _follow(lab, created[0].number)
    if as_json:
        show_json(_find_build(lab, created[0].number))
    return exit_status


@click.command()
@number_argument
@as_json_option
@click.pass_obj
def cancel(lab: Path, number: int | None, as_json: bool) -> None:
    """Stop build NUMBER and all its processes.

    Without NUMBER, the newest build that has not ended.
    """
    build = chosen_build(lab, number, lambda build: build.status not in FINAL, "that runs")
    number = build.number
    if build.status in FINAL:
        raise LabError(f"build {number} has already ended: {build.status}")
    while build.status not in FINAL:
        if holder := Builds(lab).holder(number):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(holder, signal.SIGTERM)
        sleep(0.2)
        build = _find_build(lab, number)
    show(build, as_json, lambda: f"build {number}: {build.status}")


def _all_builds(lab: Path) -> list[Build]:
    builds = Builds(lab).all()
    end_interrupted(lab, [each.number for each in builds if each.error == INTERRUPTED])
    return builds


def chosen_build(lab: Path, number: int | None,
                 is_meant: Callable[[Build], bool] = lambda build: True, kind: str = "") -> Build:
    """Return build `number`, or without one the newest that `is_meant`, and say which on stderr.

    Raises LabError when there is none; `kind` says which builds are meant.
    """
    if number is not None:
        return _find_build(lab, number)
    for each in reversed(Builds(lab).numbers()):
        if (build := Builds(lab).load(each)) and is_meant(build):
            click.echo(f"build {each} · {build.name}", err=True)
            return _find_build(lab, each)
    raise LabError(" ".join(filter(None, ["there is no build", kind])) + ". Type: lab builds")


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
