"""The `lab` command."""
from __future__ import annotations

import sys
from pathlib import Path

import click

from taglab import __version__
from taglab.cli import builds, project, results
from taglab.cli.migrate import migrate
from taglab.cli.output import FAILED, WRONG_USAGE
from taglab.engines.drone.documents import FileError
from taglab.errors import LabError
from taglab.runner.receive import receive

INTERRUPTED = 130  # what a shell reports after Ctrl-C
SECTIONS = {"Builds": builds.COMMANDS, "Results": results.COMMANDS,
            "Project": (*project.COMMANDS, migrate)}


class Sections(click.Group):
    """A group whose help lists its commands by section."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one table of commands for each section, all with the same columns."""
        width = max(map(len, self.commands))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name).ljust(width), each.get_short_help_str(limit=99))
                                    for each in section])


commands = Sections(
    commands=[command for section in SECTIONS.values() for command in section],
    help="Run this lab's experiments and look at their results.",
    context_settings={"help_option_names": ["-h", "--help"]})
click.version_option(__version__, message="%(prog)s %(version)s")(commands)


def main(lab: Path) -> int:
    """Run the command in sys.argv for the lab at `lab`, and return its exit status."""
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
        return INTERRUPTED
