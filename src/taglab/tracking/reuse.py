"""Finds out whether what a process is about to do has been done before, by a run that finished."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow.entities import Run

from taglab.ci import read_build
from taglab.cluster.manifest import JOB_INDEX, JOB_NAME, wide_job
from taglab.config import ConfigError
from taglab.tracking.connection import experiment_name, open_store, tracking_uri
from taglab.tracking.summary import PARENT, find_runs

REUSE = "LAB_REUSE"  # a variable; where it is "true", no process does again what it has done
SAME = ("process", "commit", "config_hash", "python", "taglab", "taglab_edited")  # tags


def reused_in(build: str) -> str:
    """Return MLflow's search filter for the earlier runs that a build took for its own."""
    return f"tags.`reused.{build}` = 'true'"


def end_if_done(
    config: Mapping[str, Any], tags: Mapping[str, str],
    environment: Mapping[str, str] = os.environ
) -> None:
    """End this process with status 0 if runs that finished have done all that it is to do.

    Prints a line for each of them, and tags it with the build of this process. `tags` are those
    that `run_tags` returns. Raises SystemExit, and what `open_store` raises.
    """
    rank = environment.get("RANK")
    if rank is not None and JOB_NAME in environment:
        return  # the step has asked for all pods: one that ends by itself would stall the others
    client = open_store() if tags.get("dirty") == "false" and "commit" in tags else None
    if client is None:
        return
    condition = " and ".join([
        "attributes.status = 'FINISHED'", "tags.dirty = 'false'",
        *(f"tags.{name} = '{tags[name]}'" for name in ("commit", "config_hash"))])
    same = [run for run in find_runs(client, experiment_name(), condition)
            if PARENT not in run.data.tags
            and all(run.data.tags.get(name) == tags.get(name) for name in SAME)]
    done = sufficient(same, config, environment)
    if not done:
        return
    if rank in (None, "0"):  # every process of torchrun finds the same and ends; the first tells it
        for run in done:
            if build := read_build(environment).number:
                client.set_tag(run.info.run_id, f"reused.{build}", "true")
            print(done_before(run), flush=True)
    raise SystemExit(0)


def sufficient(
    runs: Iterable[Run], config: Mapping[str, Any], environment: Mapping[str, str]
) -> list[Run]:
    """Return the newest of equal runs that do all that a process is to do; [] if they do not.

    That is one run, or one for each pod where the process starts a wide job. `runs` are in the
    order of their start.
    """
    newest = {run.data.tags.get("index", ""): run for run in runs}
    if JOB_INDEX in environment:
        wanted = [environment[JOB_INDEX]]
    elif "" in newest:  # one process did it all
        wanted = [""]
    else:
        job = None
        with contextlib.suppress(ConfigError):  # who starts the job says what is wrong
            job = wide_job(config, environment)
        if job and job.torchrun:  # one of its pods has recorded the training
            return [*newest.values()][-1:]
        wanted = [str(index) for index in range(job.indexes)] if job else [""]
    return [newest[index] for index in wanted] if newest.keys() >= {*wanted} else []


def done_before(run: Run) -> str:
    """Return a line that says where a run comes from, and where to look at it."""
    tags, page = run.data.tags, f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    origin = f"in build {tags['build']}" if "build" in tags else "by hand"
    uri = tracking_uri()
    server = re.sub("//[^/]*@", "//", uri.rstrip("/"))  # without a password
    address = server + page if uri.startswith("http") else f"lab ui, {page}"
    return f"done before: {tags.get('process', '')} {origin}, run {run.info.run_id}: {address}"
