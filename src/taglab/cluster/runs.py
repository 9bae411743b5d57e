"""The MLflow runs of a wide job: one for each index, whatever happens to its pods."""

import os
from collections.abc import Mapping
from typing import Any

from taglab.cluster.follow import show
from taglab.cluster.manifest import INDEX


def run_of_pod(
    tags: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return what `mlflow.start_run` needs for a run with these tags in a pod of a wide job.

    The pod that takes the place of one that was lost goes on in the run of that one.
    """
    import mlflow

    if "job" not in tags or INDEX not in environment:
        return {}
    own = {"index": environment[INDEX]}
    same = {"job": tags["job"], "config_hash": tags["config_hash"], **own}
    found = mlflow.search_runs(output_format="list", filter_string=" and ".join(
        f"tags.{name} = '{value}'" for name, value in same.items()))
    lost = [run.info.run_id for run in found if run.info.status in ("RUNNING", "KILLED")]
    return {"run_id": lost[0] if lost else None, "tags": own}


def end_lost_runs(job: str) -> None:
    """End the runs of pods that are gone and were not replaced; the job has ended."""
    import mlflow

    client = mlflow.MlflowClient()
    try:
        for run in mlflow.search_runs(
                filter_string=f"tags.job = '{job}' and attributes.status = 'RUNNING'",
                output_format="list"):
            client.set_tag(run.info.run_id, "reason", "its pod was lost")
            client.set_terminated(run.info.run_id, "KILLED")
    except mlflow.MlflowException as error:
        show(f"warning: runs of lost pods may seem to run: {error}")
