"""The tags that each new run gets, also in child processes.

This module uses what MLflow does not document, checked with MLflow 3.17.2: the variable
MLFLOW_RUN_CONTEXT and the function `resolve_tags`.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow.tracking.context.registry import resolve_tags

RUN_CONTEXT = "MLFLOW_RUN_CONTEXT"  # tags for every new run, as JSON


def process_tags() -> dict[str, str]:
    """Return the tags that `start_run` gives to the runs of this process; {} outside of it."""
    return dict(json.loads(os.environ.get(RUN_CONTEXT, "{}")))


def new_run_tags() -> dict[str, str]:
    """Return all tags that MLflow would give to a new run: those of the process, user, source."""
    return dict(resolve_tags())


def tagged_runs(tags: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
    """Have MLflow put `tags` on each run that starts in the body, nested ones included."""
    return set_variable(RUN_CONTEXT, json.dumps({**process_tags(), **tags}))


@contextlib.contextmanager
def set_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the body and its child processes."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
