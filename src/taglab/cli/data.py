"""`lab data`: the data that a commit names. It continues as a process in the lab's environment."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import click

from taglab.cli.output import as_json_option
from taglab.cli.results import become_python


@click.group()
def data() -> None:
    """Add data to the commit, get it, send it to a store.

    data.lock in the lab names each file or folder with its address, size and SHA-256; commit it.
    The data itself is in one cache for all your labs. A process reads it with
    taglab.datasets.path("NAME").

    \b
    lab data add measurements/prices.csv
    lab data add https://data.example/images.tar --name images.tar
    lab data push --store s3://labs/my-lab
    lab data get
    """


@data.command(epilog="Example: lab data add measurements/prices.csv")
@click.argument("address", metavar="PATH-OR-URL")
@click.option("--name", default="", help="By default, the last part of the address.")
@as_json_option
@click.pass_obj
def add(lab: Path, address: str, name: str, as_json: bool) -> NoReturn:
    """Add a file, a folder, or what is at a URL.

    An address is a path, or one of https, s3 and what fsspec knows. What was added before and has
    changed is added anew under its name.
    """
    _go_on(lab, as_json, "add", f"--name={name}", "--", _absolute(address))


@data.command(epilog="Example: lab data get prices.csv")
@click.argument("names", nargs=-1)
@as_json_option
@click.pass_obj
def get(lab: Path, names: tuple[str, ...], as_json: bool) -> NoReturn:
    """Have the data NAMES on this machine, by default all.

    Only what is missing is received, from the store or else from its address.
    """
    _go_on(lab, as_json, "get", "--", *names)


@data.command(epilog="Example: lab data status --json")
@click.argument("names", nargs=-1)
@as_json_option
@click.pass_obj
def status(lab: Path, names: tuple[str, ...], as_json: bool) -> NoReturn:
    """Show what is here, missing, or changed at its address."""
    _go_on(lab, as_json, "status", "--", *names)


@data.command(epilog="Example: lab data push --store s3://labs/my-lab")
@click.argument("names", nargs=-1)
@click.option("--store", default="", metavar="FOLDER-OR-URL",
              help="Where to; data.lock remembers it for all clones.")
@as_json_option
@click.pass_obj
def push(lab: Path, names: tuple[str, ...], store: str, as_json: bool) -> NoReturn:
    """Send the data NAMES to the store, by default all.

    Only what the store lacks is sent. Any clone can then get it.
    """
    _go_on(lab, as_json, "push", f"--store={_absolute(store) if store else ''}", "--", *names)


def _absolute(address: str) -> str:
    return address if "://" in address else os.path.abspath(os.path.expanduser(address))


def _go_on(lab: Path, as_json: bool, command: str, *arguments: str) -> NoReturn:
    json = ["--json"] if as_json else []  # before `--`, behind which are names alone
    become_python(lab, "-m", "taglab.datasets", command, *json, *arguments)
