"""What the commands share: exit statuses, output as text or JSON, and the newest build."""
from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

FAILED, WRONG_USAGE = 1, 3  # never 2: a cluster takes that for a crash

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def show(found: Any, as_json: bool, as_text: Callable[[], str] | None = None) -> None:
    """Print a dataclass or several as JSON or as text.

    click drops the colours when not on a terminal.
    """
    if as_json:
        show_json(found)
    else:
        click.echo(as_text() if as_text else str(found))


def show_json(found: Any) -> None:
    """Print a dataclass or a sequence of them as JSON."""
    plain = [asdict(each) for each in found] if isinstance(found, Sequence) else asdict(found)
    click.echo(json.dumps(plain, indent=1))


@contextmanager
def progress(as_json: bool) -> Iterator[None]:
    """Where JSON is wanted, send to stderr what is printed in the body and by its child processes.
    """
    if not as_json:
        yield
        return
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(before, 1)
        os.close(before)
