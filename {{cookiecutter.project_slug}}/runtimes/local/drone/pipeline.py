"""Pipelines and steps of `.drone.yml`, with the fields that mean something on this machine."""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from local.drone.conditions import Conditions
from local.drone.documents import Document, Fields
from local.drone.schema import NOT_PIPELINES

WORKSPACE = "/drone/src"
UNNAMED = "default"  # what Drone calls a pipeline without a name
_WAY_OUT = "remove it for this machine, or push the tag to the team's server"


@dataclass(frozen=True)
class Secret:
    """The value of a variable that is a secret with this name."""

    name: str


@dataclass(frozen=True)
class Step:
    """One step: a shell script in the pipeline's workspace."""

    name: str
    image: str
    line: int
    commands: tuple[str, ...]
    environment: dict[str, str | Secret]
    depends_on: tuple[str, ...]
    when: Conditions
    failure: str
    detach: bool
    working_dir: str
    unsupported: tuple[str, ...]


@dataclass(frozen=True)
class Pipeline:
    """One document of kind `pipeline`, and what of it cannot be run on this machine."""

    name: str
    kind: str
    type: str
    line: int
    trigger: Conditions
    depends_on: tuple[str, ...]
    services: tuple[Step, ...]
    steps: tuple[Step, ...]
    environment: dict[str, str]
    clone: bool
    clone_depth: int
    workspace: str
    concurrency: int
    unsupported: tuple[str, ...]

    def refusals(self) -> tuple[str, ...]:
        """Say, one line each, what of the pipeline and its steps cannot be run here."""
        steps = (*self.services, *self.steps)
        elsewhere = tuple(
            f"line {step.line}: step `{step.name}`: `working_dir` must be below {self.workspace} "
            f"on this machine; {_WAY_OUT}" for step in steps
            if step.working_dir and not PurePosixPath(step.working_dir).is_relative_to(
                self.workspace))
        return (*self.unsupported, *elsewhere,
                *(text for step in steps for text in step.unsupported))


def read_pipelines(documents: list[Document]) -> list[Pipeline]:
    """Return the pipelines of a file whose types were checked."""
    return [_read_pipeline(document.fields) for document in documents
            if document.fields.text("kind") not in ("", *NOT_PIPELINES)]


def _read_pipeline(fields: Fields) -> Pipeline:
    clone = fields.fields("clone")
    return Pipeline(
        name=fields.text("name") or UNNAMED,
        kind=fields.text("kind"),
        type=fields.text("type") or "docker",
        line=fields.line,
        trigger=_conditions(fields.fields("trigger")),
        depends_on=fields.texts("depends_on"),
        services=tuple(map(_read_service, fields.items("services"))),
        steps=tuple(map(_read_step, fields.items("steps"))),
        environment={name: fields.fields("environment").text(name)
                     for name in fields.fields("environment")},
        clone=not clone.boolean("disable"),
        clone_depth=clone.integer("depth"),
        workspace=fields.fields("workspace").text("path") or WORKSPACE,
        concurrency=fields.fields("concurrency").integer("limit"),
        unsupported=tuple(_unsupported_in_pipeline(fields)),
    )


def _read_service(fields: Fields) -> Step:
    """A service is a step in the background."""
    return replace(_read_step(fields), detach=True)


def _read_step(fields: Fields) -> Step:
    return Step(
        name=fields.text("name"),
        image=fields.text("image"),
        line=fields.line,
        commands=fields.texts("commands"),
        environment={**_settings(fields.fields("settings")), **_variables(fields)},
        depends_on=fields.texts("depends_on"),
        when=_conditions(fields.fields("when")),
        failure=fields.text("failure"),
        detach=fields.boolean("detach"),
        working_dir=fields.text("working_dir"),
        unsupported=tuple(_unsupported_in_step(fields)),
    )


def _conditions(fields: Fields) -> Conditions:
    names = (*Conditions.WHEN, "status")
    return Conditions({name: fields.condition(name) for name in names})


def _variables(fields: Fields) -> dict[str, str | Secret]:
    variables, environment = {}, fields.fields("environment")
    for name in environment:
        if environment.is_mapping(name):
            value = environment.fields(name)
            secret = value.text("from_secret")
            variables[name] = Secret(secret) if secret else value.text("value")
        elif not environment.is_null(name):  # null means: not set at all
            variables[name] = environment.text(name)
    return variables


def _settings(fields: Fields) -> dict[str, str | Secret]:
    """Return a plugin's settings as its variables PLUGIN_…"""
    variables = {}
    for name in fields:
        value = fields.data(name)
        if isinstance(value, dict) and "from_secret" in value:
            variables[f"PLUGIN_{name.upper()}"] = Secret(str(value["from_secret"]))
        elif value is not None:
            variables[f"PLUGIN_{name.upper()}"] = _setting(value)
    return variables


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ",".join(map(_setting, value))
    if isinstance(value, (list, dict)):
        return json.dumps(value, separators=(",", ":"), sort_keys=True, default=str)
    return str(value)


def _unsupported_in_pipeline(fields: Fields) -> Iterator[str]:
    kind = fields.text("type") or "docker"
    if kind != "kubernetes":
        yield f"line {fields.line_of('type')}: this machine runs `type: kubernetes`, not `{kind}`"
    for name, reason in (("volumes", "volumes belong to the cluster"),
                         ("host_aliases", "names of hosts cannot be changed here")):
        if fields.has(name):
            yield f"line {fields.line_of(name)}: `{name}`: {reason}; {_WAY_OUT}"
    workspace = fields.fields("workspace").text("path")
    if workspace and not workspace.startswith("/"):
        yield f"line {fields.line_of('workspace')}: `workspace.path` must be absolute here"


def _unsupported_in_step(fields: Fields) -> Iterator[str]:
    where = f"line {{}}: step `{fields.text('name')}`: "
    for name, reason in (("privileged", "privileged steps"),
                         ("entrypoint", "an entrypoint"),
                         ("command", "arguments of an image"),
                         ("user", "another user"),
                         ("group", "another group")):
        if fields.has(name):
            yield (where.format(fields.line_of(name))
                   + f"`{name}`: {reason} cannot be had on this machine; {_WAY_OUT}")
    if not fields.has("name"):
        yield where.format(fields.line) + f"it has no name; {_WAY_OUT}"
    if not fields.has("commands"):
        yield (where.format(fields.line) + "no `commands`: what an image does by itself cannot be "
               f"run without the image; {_WAY_OUT}")
