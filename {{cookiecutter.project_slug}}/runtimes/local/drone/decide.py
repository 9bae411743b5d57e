"""From a push to pipelines: what Drone's server and its runner decide, one after the other."""
from __future__ import annotations

from collections.abc import Mapping

from local.drone.conditions import Conditions, Event
from local.drone.documents import read_documents
from local.drone.lint import PipelineError, check_file, check_pipeline
from local.drone.pipeline import Pipeline, read_pipelines
from local.drone.schema import check_documents, runner_schema, server_schema
from local.drone.substitution import SubstitutionError, substitute


def triggered_pipelines(text: str, event: Event) -> list[Pipeline]:
    """Return the pipelines that the event starts, from the file as it is written.

    Raises FileError when Drone rejects the file.
    """
    return [pipeline for pipeline in all_pipelines(text)
            if pipeline.trigger.match(event, Conditions.TRIGGER)]


def all_pipelines(text: str) -> list[Pipeline]:
    """Return every pipeline of the file. Raises FileError when Drone rejects the file."""
    documents = read_documents(text)
    check_documents(documents, server_schema)
    check_file(documents)
    return read_pipelines(documents)


def pipeline_to_run(text: str, name: str, variables: Mapping[str, str],
                    trusted: bool = False) -> Pipeline:
    """Return the pipeline `name` as the runner reads it, after `${…}` was replaced.

    Raises PipelineError when Drone rejects it or this machine refuses it, FileError as above.
    `trusted` says whether the repository has Drone's flag of that name; no local one has.
    """
    try:
        replaced = substitute(text, variables)
    except SubstitutionError as error:
        raise PipelineError(str(error)) from error
    documents = read_documents(replaced)
    check_documents(documents, runner_schema)
    pipelines = [each for each in read_pipelines(documents)
                 if each.kind == "pipeline" and each.name == name]
    refusals = [refusal for each in pipelines for refusal in each.refusals()]
    try:
        check_pipeline(documents, name, trusted)
    except PipelineError as error:  # and, at once, what would be said after its correction
        raise PipelineError("\n".join((str(error), *refusals))) from error
    if refusals:
        raise PipelineError("\n".join(("not supported on this machine:", *refusals)))
    return pipelines[0]
