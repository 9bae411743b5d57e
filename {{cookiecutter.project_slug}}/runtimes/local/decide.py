"""From a push to pipelines: what Drone's server and its runner decide, one after the other."""
from __future__ import annotations

from collections.abc import Mapping

from local.conditions import Conditions, Event
from local.documents import read_documents
from local.lint import PipelineError, check_file, check_pipeline
from local.pipeline import Pipeline, read_pipelines
from local.substitution import SubstitutionError, substitute


def triggered_pipelines(text: str, event: Event) -> list[Pipeline]:
    """Return the pipelines that the event starts, from the file as it is written.

    Raises FileError when Drone rejects the file.
    """
    return [pipeline for pipeline in all_pipelines(text)
            if pipeline.trigger.match(event, Conditions.TRIGGER)]


def all_pipelines(text: str) -> list[Pipeline]:
    """Return every pipeline of the file. Raises FileError when Drone rejects the file."""
    documents = read_documents(text)
    pipelines = read_pipelines(documents)
    check_file(documents, pipelines)
    return pipelines


def pipeline_to_run(text: str, name: str, variables: Mapping[str, str]) -> Pipeline:
    """Return the pipeline `name` as the runner reads it, after `${…}` was replaced.

    Raises PipelineError when Drone rejects it or this machine refuses it, FileError as above.
    """
    try:
        replaced = substitute(text, variables)
    except SubstitutionError as error:
        raise PipelineError(str(error)) from error
    pipelines = read_pipelines(read_documents(replaced))
    pipeline = next((each for each in pipelines
                     if each.kind == "pipeline" and each.name == name), None)
    if pipeline is None:
        raise PipelineError("resource not found: `${…}` cannot be used in a pipeline's name")
    check_pipeline(pipeline)
    if refusals := pipeline.refusals():
        raise PipelineError("\n".join(("not supported on this machine:", *refusals)))
    return pipeline
