"""The command `lab report`: it needs MLflow, so it goes on in the lab's environment."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import click

from taglab.cli.output import as_json_option
from taglab.cli.results import become_python


@click.command()
@click.argument("tag")
@click.option("--against", metavar="TAG", help="Compare with this tag. [default: the last one of "
              "the same pipeline]")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write to this folder. [default: .lab/reports]")
@click.option("--notebook", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="Show the outputs of this notebook.")
@as_json_option
@click.pass_obj
def report(lab: Path, tag: str, against: str | None, output: Path | None, notebook: Path | None,
           as_json: bool) -> NoReturn:
    """Write a report on TAG: a page and a Markdown file.

    It tells what ran, with which parameters, data and packages, what came out, and how that differs
    from the last tag of the same pipeline. The page needs no other file. With --json the facts are
    printed, and nothing is written.
    """
    words = [f"--against={against}"] if against else []
    words += [f"--{name}={os.path.abspath(path)}"
              for name, path in (("output", output), ("notebook", notebook)) if path]
    become_python(lab, "-m", "taglab.report", *words, *(["--json"] if as_json else []), "--", tag)
