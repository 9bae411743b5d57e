"""The commands that look at or change the lab: `lab init`, `new`, `add`, `lint`, `image`, …"""
from __future__ import annotations

from pathlib import Path
from time import time

import click

from taglab.cli.add import add_packages
from taglab.cli.connect import connect as connect_server
from taglab.cli.image import name_image
from taglab.cli.init import init as init_lab
from taglab.cli.new import new_process
from taglab.cli.output import FAILED, as_json_option, show
from taglab.engines.drone.lint import lint as lint_text
from taglab.runner.environment import (
    cached_environments, prune_environments, requirements_hash)
from taglab.runner.git import git
from taglab.runner.secrets import read_secrets
from taglab.runner.tables import environment_table, findings_text


@click.command("init")
@click.pass_obj
def init(lab: Path) -> int:
    """Make .venv, .lab and the local remote, or renew them."""
    return init_lab(lab)


@click.command("new")
@click.argument("name")
@click.pass_obj
def new(lab: Path, name: str) -> None:
    """Write a process NAME: its folder and its pipeline."""
    click.echo(new_process(lab, name))


@click.command("add")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def add(lab: Path, names: tuple[str, ...]) -> None:
    """Pin packages NAMES and what they need in requirements.txt, and install them."""
    lines = add_packages(lab, list(names), click.echo)
    click.echo("\n".join(["Added to requirements.txt; commit it with what uses them:", *lines])
               if lines else "requirements.txt has them already")


@click.command("lint")
@as_json_option
@click.pass_obj
def lint(lab: Path, as_json: bool) -> int:
    """Check .drone.yml: what Drone rejects, and what it accepts and nobody wants."""
    text = (lab / ".drone.yml").read_text(encoding="utf-8", errors="replace")
    files = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=lab)
    found = lint_text(text, files=files.split("\0"), secrets=read_secrets(lab) or None,
                      requirements=requirements_hash(lab))
    show(found, as_json, lambda: findings_text(found) or ".drone.yml: nothing found")
    return FAILED if any(each.level == "error" for each in found) else 0


@click.command("image")
@click.argument("name", required=False)
@click.pass_obj
def image(lab: Path, name: str | None) -> None:
    """Let the steps of .drone.yml name the image of this requirements.txt, as NAME:HASH."""
    click.echo(name_image(lab, name))


@click.command("connect")
@click.argument("url")
@click.pass_obj
def connect(lab: Path, url: str) -> None:
    """Make the team's server at URL the remote `origin`, and this machine `local`."""
    click.echo(connect_server(lab, url))


@click.command("envs")
@as_json_option
@click.option("--prune", is_flag=True, help="Remove those not used for some time.")
@click.option("--days", type=float, default=30, show_default=True, help="That time.")
@click.pass_obj
def envs(lab: Path, as_json: bool, prune: bool, days: float) -> None:
    """List the cached environments of all your labs, their size and last use."""
    if prune:
        for each in prune_environments(days, time()):
            click.echo(f"removed {each.name} ({each.size / 1e6:.0f} MB)", err=as_json)
    found = cached_environments()
    show(found, as_json, lambda: environment_table(found, time()))
