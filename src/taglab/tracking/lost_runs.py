"""Ends the runs whose process is gone, such as one that was killed when memory ran out."""

import os

from taglab.tracking.quick_mlflow import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from taglab.lab import NoLab, state_folder
from taglab.running import Marker, has_marker, lost_runs
from taglab.tracking import store
from taglab.tracking.schema import WrongSchema
from taglab.tracking.summary import KILLED, find_runs, nested_in

REASON = "its process was killed"


def end_lost_runs() -> int:
    """End the runs that a process of this machine left open, as KILLED; return how many.

    With each run those that are open inside it. What is in a store that cannot be used now waits
    for the next call.
    """
    count, away = 0, set[str]()
    try:
        lost = lost_runs(state_folder())
    except (ValueError, NoLab):  # a URL, or no lab: nothing is marked
        return 0
    for marker in lost:
        if marker.uri not in away:
            try:
                count += _end(marker)
                marker.path.unlink()
            except (Exception, WrongSchema):
                away.add(marker.uri)
    return count


def _end(marker: Marker) -> int:
    """End the run of a marker and those open inside it; return how many, 0 where it is deleted."""
    if database := store.sqlite_file(marker.uri):
        if not database.exists():
            return 0
        store.prepare(database)
    # MLflow's own defaults would wait for minutes where a server is away.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    client = mlflow.MlflowClient(marker.uri)
    try:
        return _end_with_nested(client, client.get_run(marker.run_id))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return 0


def _end_with_nested(client: mlflow.MlflowClient, run: Run) -> int:
    experiment = client.get_experiment(run.info.experiment_id).name
    condition = f"attributes.status = 'RUNNING' and {nested_in(run)}"
    count = sum(_end_with_nested(client, each)
                for each in find_runs(client, experiment, condition)
                if not has_marker(state_folder(), each.info.run_id))
    if run.info.status != "RUNNING" or run.info.lifecycle_stage != "active":
        return count
    client.set_tag(run.info.run_id, "reason", REASON)
    client.set_terminated(run.info.run_id, KILLED)
    return count + 1
