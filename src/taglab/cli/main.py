"""The `lab` command."""
from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from taglab import __version__
from taglab.cli.commands import COMMANDS, help_text, nearest_command
from taglab.cli.output import FAILED, WRONG_USAGE
from taglab.engines.drone.documents import FileError
from taglab.errors import LabError

INTERRUPTED = 130  # what a shell reports after Ctrl-C


class Commands(click.Group):
    """The commands of the table, each of which is imported when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, for the shell that completes them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, with its examples at the end of its help; None for another word."""
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"taglab.cli.{entry.module}"),
                                         entry.function)
        lines = entry.example.splitlines()
        command.epilog = f"Example: {entry.example}" if len(lines) == 1 else "\n".join(
            ["\b", "Examples:", *(f"  {line}" for line in lines)])  # \b: click keeps the lines
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was typed. Raises UsageError, with a near one, if there is none.
        """
        word = args[0]
        if word not in COMMANDS and not word.startswith("-") and not ctx.resilient_parsing:
            near = nearest_command(word)
            raise click.UsageError(f"lab has no command `{word}`" + (
                f"; did you mean `lab {near}`?" if near else ". Type: lab --help"))
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, which lists the commands in their groups."""
        return help_text()


commands = Commands(context_settings={"help_option_names": ["-h", "--help"]})
click.version_option(__version__, message="%(prog)s %(version)s")(commands)


def main(lab: Path) -> int:
    """Run the command in sys.argv for the lab at `lab`, and return its exit status."""
    try:
        if sys.argv[1:] == ["receive"]:
            from taglab.runner.receive import receive  # only a push waits for this import
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
