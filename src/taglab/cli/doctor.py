"""`lab doctor`. Where the packages of this command are missing, `taglab.__main__` does it."""
from __future__ import annotations

from pathlib import Path

import click

from taglab.cli.checks import report
from taglab.cli.output import as_json_option


@click.command()
@as_json_option
@click.pass_obj
def doctor(lab: Path, as_json: bool) -> int:
    """Check the lab and this machine, and say how to mend them.

    `ok` is fine, `!` is wrong, with what to type below it, and `-` was not checked. Nothing is
    changed. The exit status is 1 where something is wrong.
    """
    return report(lab, as_json)
