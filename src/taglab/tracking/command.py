"""`python -m taglab.tracking COMMAND`: what the runner and the `lab` command call."""

import argparse
from pathlib import Path
from typing import NoReturn

from taglab.config import WRONG_USAGE
from taglab.lab import state_folder
from taglab.tracking.connection import check_server, experiment_name, open_store, tracking_uri
from taglab.tracking.lost_runs import end_lost_runs
from taglab.tracking.summary import KILLED, PARENT, find_runs, nested_in, of_build, table
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
    kill = commands.add_parser("kill", help="mark the running runs of a build as killed")
    kill.add_argument("--build", required=True)
    commands.add_parser("end-lost", help="mark the runs as killed whose process is gone")
    replay = commands.add_parser("replay", help="send the results that wait for the server")
    replay.add_argument("folder", nargs="*", type=Path, help="by default, all that wait here")
    ui = commands.add_parser("ui", help="show the lab's runs in a browser until Ctrl-C")
    ui.add_argument("--port", type=int, default=5000, help="the first port to try")
    options = parser.parse_args(arguments)
    if options.command == "replay":
        return replay_all(options.folder)
    ended = end_lost_runs()
    if options.command == "end-lost":
        return report_lost(ended)
    if options.command == "ui":
        uri = tracking_uri()
        client = None if uri.startswith("http") else open_store()
        return serve(uri, options.port, runs_page(client, experiment_name()) if client else "")
    return summarise(options.build) if options.command == "summary" else kill_runs(options.build)


def summarise(build: str | None) -> int:
    """Print the runs of a build, or the newest ones."""
    client = open_store()
    condition = "" if build is None else of_build(build)
    runs = find_runs(client, experiment_name(), condition) if client else []
    if not runs:
        print("no runs" if build is None else f"no runs in build {build}")
        return 0
    if build is None:
        parents = [run.info.run_id for run in runs if PARENT not in run.data.tags][-NEWEST:]
        runs = [run for run in runs if {run.info.run_id, run.data.tags.get(PARENT)} & {*parents}]
        print(table(runs, with_origin=True))
        return 0
    assert client is not None  # it has runs
    for search in filter(is_search, [*runs]):  # its trials may be of a build that was interrupted
        runs += find_runs(client, experiment_name(), nested_in(search))
    found = {run.info.run_id: run for run in runs}
    shown = [run for run in found.values() if run.data.tags.get(PARENT, run.info.run_id) in found]
    print(table(shown))
    if moved := len(found) - len(shown):
        print(f"{moved} more runs were taken over by the build that resumed their search")
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


def replay_all(folders: list[Path]) -> int:
    """Send what waits in these outboxes, by default in all of the lab's."""
    from taglab.tracking.outbox import replay

    folders, uri = folders or sorted(state_folder().glob("outbox/*")), tracking_uri()
    if not folders:
        print("nothing waits")
        return 0
    if not uri.startswith("http"):
        print(f"error: {uri} is not a server; name one in MLFLOW_TRACKING_URI")
        return WRONG_USAGE
    check_server(uri)
    problems = [replay(folder, uri) for folder in folders]
    for folder, problem in zip(folders, problems):
        print(problem or f"sent {folder.name} to {uri}")
    return int(any(problems))
