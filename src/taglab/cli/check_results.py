"""The checks of `lab doctor` on results: the store, what waits for a server, the servers."""
from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from urllib.parse import unquote, urlsplit

from taglab.cli.check import OK, SKIPPED, WRONG, Check
from taglab.lab import LIBRARY
from taglab.runner.environment import environment_path
from taglab.runner.lost_runs import state_folders
from taglab.runner.remote import has_server
from taglab.runner.settings import machine_variables, python_path, read_settings

PATIENCE = 2  # seconds to wait for the servers
_FOR_READING = 0.5  # seconds to read the store; a large one is not read to its end


def store(lab: Path) -> Iterator[Check]:
    """Check that the SQLite file of results is whole and that the lab's MLflow can use it."""
    uri = machine_variables(read_settings(lab), lab, lab, None)["MLFLOW_TRACKING_URI"]
    if not uri.startswith("sqlite:///"):
        yield Check("store", SKIPPED, f"results of builds go to {uri}")
        return
    database = Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))
    if not database.exists():
        yield Check("store", OK, "no results yet")
        return
    if problem := _damage(database):
        yield Check("store", WRONG, f"{database}: {problem}",
                    f"mv {database} {database}.broken    # or put a backup in its place")
        return
    if not os.access(database, os.W_OK):
        yield Check("store", WRONG, f"{database} may not be written", f"chmod u+w {database}")
        return
    environment = environment_path(lab)
    if not (environment / "ready").exists():
        yield Check("store", SKIPPED, f"{database} is whole; which MLflow it needs is not known "
                    "without the environment")
        return
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "taglab.tracking.schema", database, uri],
        cwd=lab / LIBRARY.parent, env={**os.environ, "PYTHONPATH": python_path(lab)},
        capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        text, _, remedy = said.removeprefix("error: ").partition(", then type: ")
        yield Check("store", WRONG, text, remedy)
    else:
        yield Check("store", OK, str(database))


def _damage(database: Path) -> str:
    """Return what is wrong with a SQLite file, or "": it is read for a short time only."""
    end = monotonic() + _FOR_READING
    try:
        # mode=ro would leave a -wal and a -shm file behind.
        address = f"{database.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.set_progress_handler(lambda: monotonic() > end, 10_000)
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            return "" if found == "ok" else found
    except sqlite3.Error as error:
        return "" if str(error) in ("interrupted", "database is locked") else str(error)


def waiting_results(lab: Path) -> Iterator[Check]:
    """Check that no results wait for a server."""
    waiting = [folder for state in state_folders(lab)
               for folder in sorted(state.glob("outbox/*")) if folder.is_dir()]
    if waiting:
        yield Check("waiting", WRONG, f"the results of {len(waiting)} processes wait for the "
                    f"server in {waiting[0].parent}", "lab replay")
    else:
        yield Check("waiting", OK, "no results wait for a server")


def server(lab: Path) -> Iterator[Check]:
    """Check that the servers which `.drone.yml` names answer, where the lab has a server."""
    if not has_server(lab):
        yield Check("server", SKIPPED, "the lab is not connected to one: lab connect URL")
        return
    try:
        from taglab.cli.connect import server_addresses
        from taglab.engines.drone.source import Source
    except ImportError:
        yield Check("server", SKIPPED, "the packages of the lab command are not installed yet; the "
                    "next command does it")
        return
    text = (lab / ".drone.yml").read_text(encoding="utf-8", errors="replace")
    addresses = server_addresses(Source(text))
    outside = [address for address in addresses if not is_in_cluster(address)]
    answers = _ask(outside)
    for address in addresses:
        if address not in outside:
            yield Check("server", SKIPPED, f"{address}: a name that only the cluster knows")
        elif (answer := answers.get(address, f"no answer in {PATIENCE} s")) == "answers":
            yield Check("server", OK, f"{address} answers")
        else:
            yield Check("server", WRONG, f"{address}: {answer}", f"curl -v {address}")
    if not addresses:
        yield Check("server", SKIPPED, ".drone.yml names no address")


def is_in_cluster(address: str) -> bool:
    """Return whether the name of a server is one of a Kubernetes cluster: without dots, or .svc."""
    host = urlsplit(address).hostname or ""
    return host != "localhost" and ":" not in host and (
        "." not in host or host.endswith((".svc", ".cluster.local")))


def _ask(addresses: list[str]) -> dict[str, str]:
    """Return what each address answers; those that take too long are missing."""
    from taglab.cli.connect import probe

    answers: dict[str, str] = {}

    def ask(address: str) -> None:
        answers[address] = probe(address, PATIENCE).partition(";")[0]

    # Daemons: to look up a name may take longer than any timeout, and nothing waits for them.
    threads = [threading.Thread(target=ask, args=[each], daemon=True) for each in addresses]
    end = monotonic() + PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - monotonic()))
    return dict(answers)
