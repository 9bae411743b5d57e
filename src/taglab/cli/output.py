"""What the commands share: exit statuses, and output as text or JSON."""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click

FAILED, WRONG_USAGE = 1, 3  # never 2: a cluster takes that for a crash

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def show(found: Sequence[Any], as_json: bool, as_text: Callable[[], str]) -> None:
    """Print dataclasses as JSON or as text; click drops the colours when not on a terminal."""
    click.echo(json.dumps([asdict(each) for each in found], indent=1) if as_json else as_text())
