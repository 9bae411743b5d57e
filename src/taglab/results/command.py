"""`python -m taglab.results COMMAND`: what the `lab` command calls to compare tags."""

import argparse
import json
import sys
from pathlib import Path

from taglab.config import WRONG_USAGE
from taglab.lab import lab_root
from taglab.results.comparison import DIFFERS
from taglab.results.diff import TagDiff, read_diff
from taglab.results.diff_text import diff_text
from taglab.results.files import Interpreter
from taglab.results.receipt import summary, to_json
from taglab.results.tag_results import NoResults
from taglab.results.verify import originals, verify
from taglab.tracking.command import Parser

FAILED = 1  # an exit status


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "diff":
            print(shown(read_diff(lab_root(), options.old, options.new), options.json))
            return 0
        if options.command == "originals":
            found = originals(lab_root(), options.tags)
            print(json.dumps([{"tag": each.tag, "commit": each.commit, "build": each.build}
                              for each in found]))
            return 0
        return compare(options)
    except NoResults as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = Parser(prog="python -m taglab.results")
    commands = found.add_subparsers(dest="command", required=True, parser_class=Parser)
    diff = commands.add_parser("diff", help="print how two tags differ")
    diff.add_argument("old")
    diff.add_argument("new")
    diff.add_argument("--json", action="store_true")
    first = commands.add_parser("originals", help="list the tags that can be run again, as JSON")
    first.add_argument("tags", nargs="*", help="by default, all whose runs have finished")
    again = commands.add_parser("compare", help="compare a tag's runs with those made again")
    again.add_argument("tag")
    again.add_argument("--store", required=True, help="the tracking URI of the new build's store")
    again.add_argument("--build", required=True, help="how the new build ended")
    again.add_argument("--expected", required=True, help="how the first build ended")
    again.add_argument("--tolerance", type=float, required=True)
    again.add_argument("--receipt", type=Path, required=True)
    again.add_argument("--python", default="", help="that of the commit's environment, if any")
    again.add_argument("--code", type=Path, required=True, help="a checkout of the commit")
    return found


def shown(diff: TagDiff, as_json: bool) -> str:
    """Return what to print of a difference."""
    return to_json(diff) if as_json else diff_text(diff)


def compare(options: argparse.Namespace) -> int:
    """Compare a tag's runs with those made again, and print the summary of the receipt."""
    interpreter = Interpreter(options.python, options.code) if options.python else None
    receipt = verify(lab_root(), options.tag, options.store, options.build, options.expected,
                     options.tolerance, interpreter, options.receipt)
    print(f"{summary(receipt)}\n  receipt: {options.receipt}")
    return FAILED if receipt.outcome == DIFFERS else 0
