"""The commands on tags: `lab diff` and `lab verify`.

What they compare is in MLflow, so they continue as Python processes in the lab's environment.
"""
from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import strftime
from typing import Any, NoReturn

import click

from taglab.cli.output import FAILED, as_json_option
from taglab.cli.results import become_python, lab_python
from taglab.cli.verification import first_status, own_folder, own_variables, run_again
from taglab.errors import LabError

RECEIPTS = Path(".lab", "receipts")


@click.command()
@click.argument("old")
@click.argument("new")
@as_json_option
@click.pass_obj
def diff(lab: Path, old: str, new: str, as_json: bool) -> NoReturn:
    """Show how the tag NEW differs from OLD.

    The code, the parameters, the packages, the data, the goals, the metrics and the time.
    """
    become_python(lab, "-m", "taglab.results", "diff", *(["--json"] if as_json else []),
                  "--", old, new)


@click.command()
@click.argument("tags", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Each tag whose runs have finished.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=1e-6, show_default=True,
              help="The relative difference up to which numbers agree.")
@as_json_option
@click.pass_obj
def verify(lab: Path, tags: tuple[str, ...], every: bool, tolerance: float, as_json: bool) -> int:
    """Run TAGS again and compare the results.

    Each runs in a clean clone, with packages installed anew and a store of its own. Then its
    parameters, metrics, artifacts and models are compared with those of the first runs, which get
    the tag `verified` in MLflow. A receipt is left in .lab/receipts. The exit status is 1 where
    something differs.
    """
    if bool(tags) == every:
        raise click.UsageError("name a tag, or type: lab verify --all")
    program = _Results(lab, *lab_python(lab, lambda line: click.echo(line, err=True)))
    listed = program.call("originals", "--", *tags, capture=True)
    if listed.returncode:
        return listed.returncode
    found = json.loads(listed.stdout)
    if not found:
        raise LabError("no tag has runs that finished. Type: lab runs")
    with own_folder(lab) as folder:
        variables = own_variables(lab, folder)
        ended = [_verify(program, each, folder / str(number), variables, tolerance, as_json)
                 for number, each in enumerate(found)]
    receipts = [receipt for _, receipt in ended]
    if as_json:
        click.echo(json.dumps(receipts, indent=1))
    elif receipts[1:]:
        click.echo("\n" + "\n".join(f"{each['tag']}: {each['verdict']}" for each in receipts))
    return max(status for status, _ in ended)


@dataclass(frozen=True)
class _Results:
    """Calls `python -m taglab.results` in the lab's environment."""

    lab: Path
    python: str
    variables: dict[str, str]

    def call(self, *words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        sys.stdout.flush()
        return subprocess.run([self.python, "-m", "taglab.results", *words], cwd=self.lab,
                              env=self.variables, text=True,
                              stdout=subprocess.PIPE if capture else None)


def _verify(program: _Results, wanted: dict[str, Any], folder: Path, variables: dict[str, str],
            tolerance: float, quiet: bool) -> tuple[int, dict[str, Any]]:
    """Run a tag again and compare it; return an exit status, and the receipt as JSON has it.

    quiet: leave stdout alone.
    """
    lab, tag = program.lab, str(wanted["tag"])
    file = lab / RECEIPTS / f"{tag.replace('/', '-')}-{strftime('%Y%m%d-%H%M%S')}.json"
    try:
        again = run_again(lab, tag, folder, variables,
                          (sys.stderr if quiet else sys.stdout).buffer)
    except LabError as error:
        click.echo(f"Error: {error}", err=True)
        return FAILED, {"tag": tag, "verdict": f"differs: {error}"}
    expected = first_status(lab, tag, wanted["commit"], wanted["build"])
    done = program.call(
        "compare", f"--store={again.store}", f"--build={again.status}", f"--expected={expected}",
        f"--tolerance={tolerance}", f"--receipt={file}", f"--python={again.python or ''}",
        f"--code={again.code}", "--", tag, capture=quiet)
    if not file.exists():
        return done.returncode or FAILED, {"tag": tag, "verdict": "it could not be compared"}
    return done.returncode, dict(json.loads(file.read_text(encoding="utf-8")))
