"""The page of MLflow's UI that shows the tag and the main metrics of each run.

MLflow's own page shows neither. This module uses what MLflow does not document, checked with MLflow
3.17.2: the tag `mlflow.sharedViewState.NAME` of an experiment, which holds the columns of a view
that somebody shared, and the parameter `viewStateShareKey=NAME` of the page, which shows that view.
"""

import json
from collections import Counter

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient

from taglab.tracking.summary import PARENT, main_metrics

NAME = "taglab"
TAG, PARAMETER = "mlflow.sharedViewState.", "viewStateShareKey"
TAG_WIDTH, METRIC_WIDTH = 170, 120  # pixels
METRICS = 2  # columns that fit a window of 1,500 pixels
NEWEST = 1000  # runs that decide which metrics are shown


def runs_page(client: MlflowClient, experiment: str) -> str:
    """Store the view in an experiment; return the path of its page, or "" before the first run."""
    found = client.get_experiment_by_name(experiment)
    if not found:
        return ""
    runs = client.search_runs([found.experiment_id], max_results=NEWEST)
    counts = Counter(name for run in runs if PARENT not in run.data.tags
                     for name in main_metrics(run.data.metrics))
    tags = ["tag", *(["parameters_from_tag"] if any(
        "parameters_from_tag" in run.data.tags for run in runs) else [])]
    widths = {f"tags.`{tag}`": TAG_WIDTH for tag in tags} | {
        f"metrics.`{name}`": METRIC_WIDTH for name, _ in counts.most_common(METRICS)}
    view = {"selectedColumns": [*widths], "columnOrder": [*widths], "columnWidths": widths}
    client.set_experiment_tag(found.experiment_id, TAG + NAME, json.dumps(view))
    return (f"/#/experiments/{found.experiment_id}/runs"
            f"?workflowType=machine_learning&{PARAMETER}={NAME}")
