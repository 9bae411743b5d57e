"""What Drone rejects: the server for the whole file, the runner for one pipeline."""
from __future__ import annotations

from collections.abc import Sequence

from local.documents import Document, FileError
from local.outcome import CLONE
from local.pipeline import Pipeline, Step


class PipelineError(Exception):
    """Drone rejects the pipeline; the message is Drone's."""


def check_file(documents: Sequence[Document], pipelines: Sequence[Pipeline]) -> None:
    """Raise FileError for what Drone's server rejects, also in pipelines that no push starts."""
    for document in documents:
        if not document.fields.text("kind"):
            raise FileError("yaml: missing kind attribute\n  "
                            f"(the document at line {document.line}; comments and blank lines "
                            "before the first `---` are a document too)")
    names: set[str] = set()
    for pipeline in pipelines:
        if pipeline.name in names:
            raise FileError(f"linter: duplicate pipeline names ({pipeline.name!r})")
        if pipeline.name in pipeline.depends_on:
            raise FileError("linter: pipeline cannot have a dependency on itself")
        for unknown in [name for name in pipeline.depends_on if name not in names]:
            raise FileError("linter: invalid or unknown pipeline dependency "
                            f"({pipeline.name!r} names {unknown!r}, which must come before it)")
        names.add(pipeline.name)


def check_pipeline(pipeline: Pipeline) -> None:
    """Raise PipelineError for what Drone's runner rejects."""
    for step in pipeline.steps:
        if not step.name:
            raise PipelineError("Linter: invalid or missing step name")
        if len(step.name) > 100:
            raise PipelineError("Linter: step name cannot exceed 100 characters")
    if len({step.name for step in pipeline.steps}) < len(pipeline.steps):
        raise PipelineError("Linter: duplicate step name")
    names = {*(service.name for service in pipeline.services), *([CLONE] if pipeline.clone else [])}
    for step in pipeline.steps:
        _check_step(step, names)
        names.add(step.name)


def _check_step(step: Step, earlier: set[str]) -> None:
    if step.name in earlier:
        raise PipelineError("linter: duplicate step names")
    if not step.image:
        raise PipelineError("linter: invalid or missing image")
    if step.name in step.depends_on:
        raise PipelineError(f"linter: cyclical step dependency detected: {step.name}")
    for unknown in [name for name in step.depends_on if name not in earlier]:
        raise PipelineError("linter: unknown step dependency detected: "
                            f"{step.name} references {unknown}")
