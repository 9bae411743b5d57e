"""The commands on the lab itself: `lab init`, `new`, `add`, `lock`, `lint`, `image` and others."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import time

import click

from taglab.cli.add import add_packages, lock_packages
from taglab.cli.connect import connect as connect_server
from taglab.cli.image import set_image
from taglab.cli.init import init as init_lab
from taglab.cli.new import new_process
from taglab.cli.output import FAILED, as_json_option, progress, show
from taglab.engines.drone.lint import Finding, lint as lint_text
from taglab.engines.drone.source import GOALS, processes_with_goals
from taglab.hashes import edited_files
from taglab.lab import LIBRARY
from taglab.runner.environment import cached_environments, prune_environments
from taglab.runner.git import git
from taglab.runner.remote import has_server
from taglab.runner.requirements import requirements_hash
from taglab.runner.secrets import read_secrets
from taglab.runner.tables import environment_table, findings_text


@dataclass(frozen=True)
class Added:
    """The new lines of requirements.txt."""

    added: list[str]

    def __str__(self) -> str:
        return "\n".join(["Added to requirements.txt; commit it with the code that needs them:",
                          *self.added]) if self.added else "requirements.txt already has them"


@click.command()
@as_json_option
@click.pass_obj
def init(lab: Path, as_json: bool) -> int:
    """Make or renew .venv, .lab and the local remote."""
    return init_lab(lab, as_json)


@click.command()
@click.argument("name")
@as_json_option
@click.pass_obj
def new(lab: Path, name: str, as_json: bool) -> None:
    """Create a process NAME: its folder and its step."""
    show(new_process(lab, name), as_json)


@click.command()
@click.argument("names", nargs=-1, required=True)
@as_json_option
@click.pass_obj
def add(lab: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Install packages NAMES and pin them in requirements.txt.

    What they depend on is pinned too.
    """
    with progress(as_json):
        found = Added(add_packages(lab, list(names), click.echo))
    show(found, as_json)


@click.command()
@as_json_option
@click.pass_obj
def lock(lab: Path, as_json: bool) -> None:
    """Write the hashes of all packages, which are checked from then on.

    They stand in requirements.lock.txt. Once it is there, `lab add` keeps it up to date; after a
    change of requirements.txt by hand, type `lab lock`.
    """
    with progress(as_json):
        found = lock_packages(lab, click.echo)
    show(found, as_json)


@click.command()
@as_json_option
@click.option("--server", is_flag=True,
              help="Warn of what concerns a server alone, also before `lab connect`.")
@click.pass_obj
def lint(lab: Path, as_json: bool, server: bool) -> int:
    """Check .drone.yml, and that vendor/taglab was not edited.

    An error is what Drone rejects; a warning, what it accepts but nobody wants. Only errors make
    this command fail.
    """
    text = (lab / ".drone.yml").read_text(encoding="utf-8", errors="replace")
    files = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=lab)
    goals = lab / GOALS
    found = lint_text(
        text, files=files.split("\0"), secrets=read_secrets(lab) or None,
        requirements=requirements_hash(lab), server=server or has_server(lab),
        goals=processes_with_goals(goals.read_text("utf-8", "replace") if goals.exists() else ""))
    found += _edited_library(lab)
    show(found, as_json, lambda: findings_text(found) or ".drone.yml: nothing found")
    return FAILED if any(each.level == "error" for each in found) else 0


@click.command()
@click.argument("name", required=False)
@as_json_option
@click.pass_obj
def image(lab: Path, name: str | None, as_json: bool) -> None:
    """Set the image of all steps to that of requirements.txt.

    In .drone.yml it becomes NAME:HASH, where HASH stands for the packages. Without a NAME, the
    image keeps the name that it has.
    """
    show(set_image(lab, name), as_json)


@click.command()
@click.argument("url")
@as_json_option
@click.pass_obj
def connect(lab: Path, url: str, as_json: bool) -> None:
    """Make the team's server at URL the remote `origin`.

    This machine becomes the remote `local`.
    """
    show(connect_server(lab, url), as_json)


@click.command()
@as_json_option
@click.option("--prune", is_flag=True, help="Remove those that have not been used for --days.")
@click.option("--days", type=float, default=30, show_default=True)
@click.pass_obj
def envs(lab: Path, as_json: bool, prune: bool, days: float) -> None:
    """List the cached environments, which all your labs share."""
    if prune:
        for each in prune_environments(days, time()):
            click.echo(f"removed {each.name} ({each.size / 1e6:.0f} MB)", err=as_json)
    found = cached_environments()
    show(found, as_json, lambda: environment_table(found, time()))


def _edited_library(lab: Path) -> list[Finding]:
    """Return a warning for each file of the lab's library that is not as it was delivered."""
    return [Finding(0, "warning", "not as delivered; changes here are lost or conflict when the "
                    "template is updated", (LIBRARY / file).as_posix())
            for file in edited_files(lab / LIBRARY) or ()]
