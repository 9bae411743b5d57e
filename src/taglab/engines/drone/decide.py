"""From a push to pipelines: what Drone's server and its runner decide, one after the other."""
from __future__ import annotations

from collections.abc import Mapping

from taglab.engines.drone.conditions import TRIGGER, Event, all_match
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.schema import (
    NOT_PIPELINES, is_kubernetes, read_documents, runner_schema, server_schema)
from taglab.engines.drone.substitution import substitute
from taglab.engines.drone import rejections


def triggered_pipelines(text: str, event: Event) -> list[Fields]:
    """Return the pipelines that the event starts, from the file as it is written.

    Raises FileError when Drone rejects the file.
    """
    return [each for each in all_pipelines(text) if all_match(each.trigger, event, TRIGGER)]


def all_pipelines(text: str) -> list[Fields]:
    """Return every pipeline of the file. Raises FileError when Drone rejects the file."""
    documents = read_documents(text, server_schema)
    _raise_first(rejections.by_server(documents))
    _raise_first(rejections.as_old_file(text))
    return [each for each in documents if each.kind not in NOT_PIPELINES]


def pipeline_to_run(text: str, name: str, variables: Mapping[str, str],
                    trusted: bool = False) -> Fields:
    """Return the pipeline `name` as the runner reads it, after `${…}` was replaced.

    Raises FileError when Drone rejects it or this machine refuses it. `trusted` says whether the
    repository has Drone's flag of that name; no local one has.
    """
    documents = read_documents(substitute(text, variables), runner_schema)
    for pipeline in filter(is_kubernetes, documents):
        _raise_first(rejections.when_read(pipeline))
    asked = [each for each in documents if each.kind == "pipeline" and each.name == name]
    if not asked:
        raise FileError("resource not found: `${…}` cannot be used in a pipeline's name")
    pipeline = asked[0]
    if not is_kubernetes(pipeline):
        raise FileError(f"not supported on this machine:\nline {pipeline.line_of('type')}: this "
                        f"machine runs `type: kubernetes`, not `{pipeline.type}`")
    refusals = [f"line {line}: {words}" for line, words in rejections.here(pipeline)]
    try:
        _raise_first(rejections.by_runner(pipeline))
        if not trusted:
            _raise_first(rejections.without_trust(pipeline))
    except FileError as error:  # and, at once, what would be said after its correction
        raise FileError("\n".join((str(error), *refusals))) from error
    if refusals:
        raise FileError("\n".join(("not supported on this machine:", *refusals)))
    return pipeline


def _raise_first(problems: rejections.Problems) -> None:
    for line, words in problems:
        raise FileError(f"{words} (line {line})")
