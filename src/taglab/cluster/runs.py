"""The MLflow runs of a wide job: one for each index, whatever happens to its pods."""

import os
from collections.abc import Mapping
from typing import Any

from taglab.cluster.follow import show
from taglab.cluster.manifest import JOB_INDEX

# MLflow is imported in the functions: by then taglab.tracking, above this package, has set it up.


def run_of_pod(
    tags: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return the arguments of `mlflow.start_run` for a run with these tags in a wide job's pod.

    A pod that replaces a lost one continues that one's run. Returns {} in any other process.
    """
    import mlflow

    if "job" not in tags or JOB_INDEX not in environment:
        return {}
    own = {"index": environment[JOB_INDEX]}
    same = {"job": tags["job"], "config_hash": tags["config_hash"], **own}
    found = mlflow.search_runs(output_format="list", filter_string=" and ".join(
        f"tags.{name} = '{value}'" for name, value in same.items()))
    lost = [run.info.run_id for run in found if run.info.status in ("RUNNING", "KILLED")]
    return {"run_id": lost[0] if lost else None, "tags": own}


def end_lost_runs(job: str) -> None:
    """End the runs of pods that were lost and not replaced, once their job has ended."""
    import mlflow

    client = mlflow.MlflowClient()
    try:
        for run in mlflow.search_runs(
                filter_string=f"tags.job = '{job}' and attributes.status = 'RUNNING'",
                output_format="list"):
            client.set_tag(run.info.run_id, "reason", "its pod was lost")
            client.set_terminated(run.info.run_id, "KILLED")
    except mlflow.MlflowException as error:
        show(f"warning: runs of lost pods may still appear to be running: {error}")
