"""The `lab` command."""
from __future__ import annotations

import sys
from pathlib import Path

import click

from taglab.cli.output import FAILED, WRONG_USAGE
from taglab.cli import builds, project, results
from taglab.cli.migrate import migrate
from taglab.engines.drone.documents import FileError
from taglab.errors import LabError
from taglab.runner.receive import receive


def main(lab: Path) -> int:
    """Run the command that sys.argv names for the lab in `lab`; returns an exit status."""
    try:
        if sys.argv[1:] == ["receive"]:
            return receive(lab, sys.stdin)
        return commands.main(prog_name="lab", obj=lab, standalone_mode=False) or 0
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
def commands() -> None:
    """Run the experiments of this lab, and see them."""


for _command in (
        builds.status, builds.list_builds, builds.logs, builds.launch, builds.restart,
        builds.cancel, results.ui, results.goals, results.tensorboard, results.replay,
        project.init, project.new, project.add, project.lint, project.image, project.connect,
        project.envs, migrate):
    commands.add_command(_command)
