"""`python -m taglab.tracking COMMAND`: what the runner and the `lab` command ask for."""

import argparse
from pathlib import Path

from taglab.lab import state_folder
from taglab.tracking.connection import check_server, experiment_name, open_store, tracking_uri
from taglab.tracking.summary import KILLED, PARENT, find_runs, table
from taglab.tracking.ui import serve

WRONG_USAGE = 3
NEWEST = 10


class Parser(argparse.ArgumentParser):
    """argparse, but wrong usage ends with status 3: a cluster takes 2 for a crash of its own."""

    def error(self, message: str) -> None:
        self.print_usage()
        self.exit(WRONG_USAGE, f"error: {message}\n")


def main(arguments: list[str]) -> int:
    """Do what the words of the command line ask for and return the exit status."""
    parser = Parser(prog="python -m taglab.tracking")
    parser.add_argument("--interface", choices=["1"], help="how the runner asks; see "
                        "taglab.runner.library")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    summary = commands.add_parser("summary", help="print the runs of a build with their metrics")
    summary.add_argument("--build", help="a build number; without it, the newest runs")
    kill = commands.add_parser("kill", help="mark the running runs of a build as killed")
    kill.add_argument("--build", required=True)
    replay = commands.add_parser("replay", help="send what waits for the tracking server")
    replay.add_argument("folder", nargs="*", type=Path, help="without one, all that wait here")
    ui = commands.add_parser("ui", help="show the lab's runs in a browser until Ctrl-C")
    ui.add_argument("--port", type=int, default=5000, help="the first port to try")
    given = parser.parse_args(arguments)
    if given.command == "ui":
        uri = tracking_uri()
        return serve(uri, given.port, "" if uri.startswith("http") else runs_page())
    if given.command == "replay":
        return replay_all(given.folder)
    return summarise(given.build) if given.command == "summary" else kill_runs(given.build)


def summarise(build: str | None) -> int:
    """Print the runs of a build, or the newest ones."""
    client = open_store()
    runs = client and find_runs(client, experiment_name(), build_condition(build))
    if not runs:
        print("no runs" if build is None else f"no runs in build {build}")
        return 0
    if build is None:
        parents = [run.info.run_id for run in runs if PARENT not in run.data.tags][-NEWEST:]
        runs = [run for run in runs if {run.info.run_id, run.data.tags.get(PARENT)} & {*parents}]
    print(table(runs))
    return 0


def kill_runs(build: str) -> int:
    """Mark the runs of a build that nobody will end any more."""
    client = open_store()
    condition = f"attributes.status = 'RUNNING' and {build_condition(build)}"
    runs = find_runs(client, experiment_name(), condition) if client else []
    for run in runs:
        client.set_terminated(run.info.run_id, KILLED)
    print(f"{len(runs)} runs marked as killed")
    return 0


def replay_all(folders: list[Path]) -> int:
    """Send what waits in these folders, or in all that wait here."""
    from taglab.tracking.outbox import replay

    folders, uri = folders or sorted(state_folder().glob("outbox/*")), tracking_uri()
    if not folders:
        print("nothing waits")
        return 0
    if not uri.startswith("http"):
        print(f"error: {uri} is no server; name it in MLFLOW_TRACKING_URI")
        return WRONG_USAGE
    check_server(uri)
    for folder in folders:
        replay(folder, uri)
        print(f"sent {folder.name} to {uri}")
    return 0


def runs_page() -> str:
    """Return the page of the lab's runs in MLflow's UI; "" before the first run."""
    client = open_store()
    experiment = client and client.get_experiment_by_name(experiment_name())
    if not experiment:
        return ""
    return f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"


def build_condition(build: str | None) -> str:
    """Return MLflow's condition for the runs of a build."""
    return "" if build is None else f"tags.build = '{build}'"
