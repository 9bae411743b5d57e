"""From a push to pipelines: what Drone's server decides, and then its runner."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from taglab.engines.drone import rejections
from taglab.engines.drone.conditions import TRIGGER, Event, all_match
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.schema import (
    NOT_PIPELINES, is_kubernetes, read_documents, runner_schema, server_schema)
from taglab.engines.drone.substitution import substitute


def triggered_pipelines(text: str, event: Event) -> list[Fields]:
    """Return the pipelines that the event starts, as the server reads them: without substitution.

    Raises FileError if Drone rejects the file.
    """
    return [pipeline for pipeline in all_pipelines(text)
            if all_match(pipeline.trigger, event, TRIGGER)]


def all_pipelines(text: str) -> list[Fields]:
    """Return every pipeline of the file. Raises FileError if Drone rejects the file."""
    documents = read_documents(text, server_schema)
    _raise_first(rejections.by_server(documents))
    _raise_first(rejections.legacy_format(text))
    return [document for document in documents if document.kind not in NOT_PIPELINES]


def pipeline_to_run(text: str, name: str, variables: Mapping[str, str],
                    trusted: bool = False) -> Fields:
    """Return the pipeline `name` as the runner reads it, after substitution.

    `trusted` is Drone's flag of that name, which no local repository has. Raises FileError if
    Drone rejects the pipeline or this machine cannot run it.
    """
    documents = read_documents(substitute(text, variables), runner_schema)
    for document in filter(is_kubernetes, documents):
        _raise_first(rejections.on_parsing(document))
    pipeline = _find(documents, name)
    unsupported = [f"line {line}: {message}"
                   for line, message in rejections.unsupported_here(pipeline)]
    try:
        _raise_first(rejections.by_runner(pipeline))
        if not trusted:
            _raise_first(rejections.untrusted(pipeline))
    except FileError as error:  # with what would be refused once this is corrected
        raise FileError("\n".join((str(error), *unsupported))) from error
    if unsupported:
        raise FileError("\n".join(("not supported on this machine:", *unsupported)))
    return pipeline


def _find(documents: Sequence[Fields], name: str) -> Fields:
    for document in documents:
        if document.kind == "pipeline" and document.name == name:
            if is_kubernetes(document):
                return document
            raise FileError("not supported on this machine:\n"
                            f"line {document.line_of('type')}: this machine runs "
                            f"`type: kubernetes`, not `{document.type}`")
    _raise_first(rejections.never_found(
        [each for each in documents if getattr(each, "name", "") == name]))
    raise FileError("resource not found: `${…}`, `$$` and `\\` cannot be used in a pipeline's name")


def _raise_first(problems: rejections.Problems) -> None:
    for line, message in problems:
        raise FileError(f"{message} (line {line})")
