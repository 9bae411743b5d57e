"""`python -m taglab.datasets COMMAND`, which `lab data` becomes; run it in the lab's folder."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

from taglab.datasets.entries import add, files_of, have, push, summary
from taglab.datasets.lock import FILE, DataError, Entry, Lock, check_address, read_lock, write_lock
from taglab.datasets.objects import Cache, cache_folder
from taglab.datasets.places import is_url, place_at
from taglab.datasets.status import states, status_text
from taglab.lab import lab_root


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m taglab.datasets")
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="add a file, a folder or what is at a URL")
    adding.add_argument("address")
    adding.add_argument("--name", default="")
    for name in ("get", "status", "push"):
        commands.add_parser(name).add_argument("names", nargs="*")
    commands.choices["push"].add_argument("--store", default="")
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        lab, cache = lab_root(), Cache(cache_folder())
        lock = read_lock(lab)
        if options.command == "add":
            return _add(lab, lock, cache, options.address, options.name, options.json)
        entries = [lock.entry(name) for name in options.names] or [*lock.entries.values()]
        if options.command == "status":
            return _status(lab, lock, cache, entries, options.json)
        if not entries:
            print("[]" if options.json else
                  f"{FILE} names no data. Type: lab data add PATH-OR-URL")
            return 0
        if options.command == "get":
            return _get(lab, lock, cache, entries, options.json)
        return _push(lab, lock, cache, entries, options.store, options.json)
    except DataError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _add(lab: Path, lock: Lock, cache: Cache, address: str, name: str, as_json: bool) -> int:
    entry = add(lab, lock, cache, address, name, datetime.now(timezone.utc))
    changed = lock.entries.get(entry.name) != entry
    if changed:
        write_lock(lab, replace(lock, entries={**lock.entries, entry.name: entry}))
    if as_json:
        print(json.dumps({"changed": changed, **asdict(entry)}, indent=1, default=str))
        return 0
    if not changed:
        print(f"{entry.name}, {summary(entry)}, is as it was")
        return 0
    print(f"{FILE} names {entry.name}, {summary(entry)}. Commit it: "
          f"git add {FILE} && git commit -m 'Add {entry.name}'")
    if not is_url(entry.address):
        print("It is only on this machine until you type: lab data push"
              + ("" if lock.store else " --store FOLDER-OR-URL"))
    return 0


def _get(lab: Path, lock: Lock, cache: Cache, entries: Sequence[Entry], as_json: bool) -> int:
    moved = []
    for entry in entries:
        received = have(lab, lock, cache, [entry])
        cache.view(entry.name, entry.sha256, files_of(cache, entry) or [], bool(entry.files))
        moved.append({"name": entry.name, "received": bool(received)})
        if not as_json:
            print(f"{entry.name}, {summary(entry)}: " + ("received" if received else "here"))
    if as_json:
        print(json.dumps(moved, indent=1))
    return 0


def _status(lab: Path, lock: Lock, cache: Cache, entries: Sequence[Entry], as_json: bool) -> int:
    found = states(lab, lock, cache, entries)
    text = status_text(found, entries) or f"{FILE} names no data"
    print(json.dumps([asdict(each) for each in found], indent=1) if as_json else text)
    return 0


def _push(lab: Path, lock: Lock, cache: Cache, entries: Sequence[Entry], store: str,
          as_json: bool) -> int:
    store = store or lock.store
    if not store:
        raise DataError(f"{FILE} names no store. Type: lab data push --store FOLDER-OR-URL, such "
                        "as s3://BUCKET/PREFIX")
    check_address(store)
    moved = []
    for entry in entries:
        sent = push(cache, place_at(store, lab), [entry])
        moved.append({"name": entry.name, "sent": bool(sent), "store": store})
        if not as_json:
            print(f"{entry.name}, {summary(entry)}: "
                  + (f"sent to {store}" if sent else "is there"))
    if store != lock.store:
        write_lock(lab, replace(lock, store=store))
    if as_json:
        print(json.dumps(moved, indent=1))
    elif store != lock.store:
        print(f"{FILE} names the store {store}. Commit it: git commit -m 'Name a store' {FILE}")
    return 0
