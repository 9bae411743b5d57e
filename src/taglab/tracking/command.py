"""`python -m taglab.tracking COMMAND`: what the runner and the `lab` command call."""

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

from taglab.config import WRONG_USAGE
from taglab.lab import state_folder
from taglab.tracking.connection import check_server, experiment_name, open_store, tracking_uri
from taglab.tracking.lost_runs import end_lost_runs
from taglab.tracking.reuse import done_before, reused_in
from taglab.tracking.summary import KILLED, PARENT, find_runs, nested_in, of_build, table, tree
from taglab.tracking.trials import is_search
from taglab.tracking.ui import serve
from taglab.tracking.view import runs_page

NEWEST = 10  # runs, when no build is named


class Parser(argparse.ArgumentParser):
    """argparse, but wrong usage exits with status 3: a cluster takes 2 for a crash of its own."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and `message`, and exit."""
        self.print_usage()
        self.exit(WRONG_USAGE, f"error: {message}\n")


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name and return its exit status."""
    parser = Parser(prog="python -m taglab.tracking")
    parser.add_argument("--interface", choices=["1"], help="the version of this command line that "
                        "the runner speaks; see taglab.runner.library")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    summary = commands.add_parser("summary", help="print runs with their metrics")
    summary.add_argument("--build", help="a build number; by default, the newest runs")
    summary.add_argument("--json", action="store_true", help="print JSON")
    kill = commands.add_parser("kill", help="mark the running runs of a build as killed")
    kill.add_argument("--build", required=True)
    commands.add_parser("end-lost", help="mark the runs as killed whose process is gone")
    replay = commands.add_parser("replay", help="send the results that wait for the server")
    replay.add_argument("folder", nargs="*", type=Path, help="by default, all that wait here")
    replay.add_argument("--json", action="store_true", help="print JSON")
    ui = commands.add_parser("ui", help="show the lab's runs in a browser until Ctrl-C")
    ui.add_argument("--port", type=int, default=5000, help="the first port to try")
    options = parser.parse_args(arguments)
    if options.command == "replay":
        return replay_all(options.folder, options.json)
    ended = end_lost_runs()
    if options.command == "end-lost":
        return report_lost(ended)
    if options.command == "ui":
        uri = tracking_uri()
        client = None if uri.startswith("http") else open_store()
        return serve(uri, options.port, runs_page(client, experiment_name()) if client else "")
    if options.command == "kill":
        return kill_runs(options.build)
    if options.build is None:
        return summarise_newest(options.json)
    return summarise(options.build, options.json)


def summarise_newest(as_json: bool = False) -> int:
    """Print the newest runs."""
    client = open_store()
    runs = find_runs(client, experiment_name()) if client else []
    parents = [run.info.run_id for run in runs if PARENT not in run.data.tags][-NEWEST:]
    runs = [run for run in runs if {run.info.run_id, run.data.tags.get(PARENT)} & {*parents}]
    if as_json:
        print(json.dumps(tree(runs), indent=1))
    else:
        print(table(runs, with_origin=True) if runs else "no runs")
    return 0


def summarise(build: str, as_json: bool = False) -> int:
    """Print the runs of a build, and the earlier ones that it took for its own."""
    client = open_store()
    runs = find_runs(client, experiment_name(), of_build(build)) if client else []
    reused = find_runs(client, experiment_name(), reused_in(build)) if client else []
    for search in filter(is_search, [*runs]):  # its trials may be of a build that was interrupted
        assert client is not None  # it has runs
        runs += find_runs(client, experiment_name(), nested_in(search))
    found = {run.info.run_id: run for run in runs}
    shown = [run for run in found.values() if run.data.tags.get(PARENT, run.info.run_id) in found]
    if as_json:
        print(json.dumps(tree([*reused, *shown]), indent=1))
        return 0
    if shown or not reused:
        print(table(shown) if shown else f"no runs in build {build}")
    if moved := len(found) - len(shown):
        print(f"{moved} more runs were taken over by the build that resumed their search")
    for run in reused:
        print(done_before(run))
    return 0


def report_lost(ended: int) -> int:
    """Say how many runs were ended, where there were any."""
    if ended:
        print(f"{ended} runs marked as killed: their process is gone")
    return 0


def kill_runs(build: str) -> int:
    """Mark the runs of a build as killed whose process is gone."""
    client = open_store()
    if client is None:
        print("0 runs marked as killed")
        return 0
    condition = f"attributes.status = 'RUNNING' and {of_build(build)}"
    runs = find_runs(client, experiment_name(), condition)
    for run in runs:
        client.set_terminated(run.info.run_id, KILLED)
    print(f"{len(runs)} runs marked as killed")
    return 0


def replay_all(folders: list[Path], as_json: bool = False) -> int:
    """Send what waits in these outboxes, by default in all of the lab's."""
    from taglab.tracking.outbox import replay

    folders, uri = folders or sorted(state_folder().glob("outbox/*")), tracking_uri()
    if not folders:
        print("[]" if as_json else "nothing waits")
        return 0
    if not uri.startswith("http"):
        print(f"error: {uri} is not a server; name one in MLFLOW_TRACKING_URI",
              file=sys.stderr if as_json else sys.stdout)
        return WRONG_USAGE
    check_server(uri)
    problems = [replay(folder, uri) for folder in folders]
    if as_json:
        print(json.dumps([{"folder": str(folder), "sent": not problem, "problem": problem}
                          for folder, problem in zip(folders, problems)], indent=1))
        return int(any(problems))
    for folder, problem in zip(folders, problems):
        print(problem or f"sent {folder.name} to {uri}")
    return int(any(problems))
