"""Several processes, the pods of a job for example, that share one search.

JOB_COMPLETION_INDEX and JOB_COMPLETIONS say which process this is and how many there are. Points
that are known beforehand are divided among the processes. Samplers and pruners, which depend on
other trials, need Optuna's storage in PostgreSQL, which locks the rows that two processes want:
SQLite gives both the same trial. Its address (postgresql+psycopg2://…) is in LAB_SEARCH_STORAGE.
Each process repeats the draws of the others, and so knows all points. Process 0 has the parent run,
waits for all trials and returns the result; the runs of the other processes are nested in it, and
those processes exit when no trial is left.
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from taglab.tracking.quick_mlflow import mlflow
from mlflow.entities import Run

from taglab.search.errors import SearchError
from taglab.search.messages import FINISHED
from taglab.search.plan import Plan
from taglab.tracking.context import process_tags
from taglab.tracking.summary import PARENT

PATIENCE = 600.0  # seconds that a process waits for process 0


@dataclass(frozen=True)
class SearchProcess:
    """One of the processes that share a search; by default the only one."""

    index: int = 0
    count: int = 1
    storage: str = ""  # the address of Optuna's storage


def this_process(plan: Plan, environment: Mapping[str, str] = os.environ) -> SearchProcess:
    """Return which process of a search this is.

    Raises SearchError where several processes cannot run the plan.
    """
    index, count = (environment.get(f"JOB_COMPLETION{end}") for end in ("_INDEX", "S"))
    storage = environment.get("LAB_SEARCH_STORAGE", "")
    if index is None or count is None or count == "1":
        return SearchProcess()
    if plan.method == "evolution":
        raise SearchError("evolution runs one generation after another, which several processes"
                          " cannot share; use tpe or cmaes, or one process")
    if not storage and (plan.points is None or plan.pruner):
        raise SearchError("the trials of this search depend on each other, so several processes"
                          " need a database: set LAB_SEARCH_STORAGE to the address of one for"
                          " Optuna")
    scheme, found, _ = storage.partition("://")  # the rest may hold a password
    if storage and not (found and re.fullmatch(r"postgresql(\+\w+)?", scheme)):
        raise SearchError(f"LAB_SEARCH_STORAGE is {scheme if found else '…'}://…, but several"
                          f" processes can only share a PostgreSQL database; set it to"
                          f" postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE")
    return SearchProcess(int(index), int(count), storage)


def order_note(plan: Plan, process: SearchProcess) -> str:
    """Return what to say of the order in which a search learns from its trials; often nothing."""
    if plan.asynchronous:
        return "this search is asynchronous: it may choose other points when it runs again"
    workers = process.count * plan.workers
    if not plan.ordered or workers <= plan.max_concurrent:
        return ""
    return (f"only {plan.max_concurrent} of {workers} workers run at once, so that the points"
            f" depend on the seed alone; set search(…, max_concurrent={workers}), or search(…,"
            f" asynchronous=True) where they may differ when the search runs again")


def wait_for_parent(identity: str, own: Run, seconds: float = PATIENCE) -> Run:
    """Return the run of process 0 once it exists, with the run `own` nested in it.

    A pod that replaces a lost one may find that run finished.

    Raises SearchError when there is no such run after so many seconds.
    """
    client, statuses = mlflow.MlflowClient(), {"RUNNING"}
    if "job" in process_tags():
        statuses.add(FINISHED)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for run in client.search_runs([own.info.experiment_id], f"tags.search = '{identity}'",
                                      order_by=["attributes.start_time ASC"]):
            if "trial" not in run.data.tags and run.info.status in statuses:
                client.set_tag(own.info.run_id, PARENT, run.info.run_id)
                return run
        time.sleep(1)
    raise SearchError(f"process 0 of this search did not start within {seconds:g} seconds")
