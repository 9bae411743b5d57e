"""The fields of `.drone.yml` and their types, for Drone's server and for its Kubernetes runner.

The server reads every pipeline as one of Docker's; the runner reads only its own.
"""
from __future__ import annotations

from collections.abc import Callable

from taglab.engines.drone.documents import FileError, parse_documents
from taglab.engines.drone.field_types import (
    boolean, condition, integer, or_fields, setting, size, string, string_or, variable)
from taglab.engines.drone.fields import Decoder, Fields, MapOf, Schema

WORKSPACE = "/drone/src"
_UNNAMED = "default"  # what Drone calls a pipeline without a name

_STRING_MAP = MapOf(string)
_AMOUNTS: Schema = {"cpu": integer, "memory": size}
_RESOURCES: Schema = {"requests": _AMOUNTS, "limits": _AMOUNTS}
CONDITIONS: Schema = {name: condition for name in (
    "branch", "event", "action", "ref", "repo", "target", "cron", "status", "instance", "paths")}
_HEAD: Schema = {"kind": string, "type": string_or("docker"), "name": string_or(_UNNAMED),
                 "version": string}
_STEP: Schema = {
    "name": string, "image": string, "commands": [string], "environment": MapOf(variable),
    "settings": MapOf(setting), "depends_on": [string], "when": CONDITIONS, "failure": string,
    "detach": boolean, "privileged": boolean, "pull": string, "resources": _RESOURCES,
    "working_dir": string, "entrypoint": [string], "command": [string], "shell": string,
    "volumes": [{"name": string, "path": string}],
}
_CLONE: Schema = {"disable": boolean, "depth": integer, "skip_verify": boolean}
_VOLUME: Schema = {"name": string, "temp": {"medium": string, "size_limit": size},
                   "host": {"path": string}}
_COMMON: Schema = {
    **_HEAD, "depends_on": [string], "clone": _CLONE, "concurrency": {"limit": integer},
    "node": _STRING_MAP,
    "platform": {"os": string, "arch": string, "variant": string, "version": string},
    "trigger": CONDITIONS, "services": [_STEP], "steps": [_STEP], "volumes": [_VOLUME],
    "image_pull_secrets": [string], "workspace": {"path": string_or(WORKSPACE)},
}

_KUBERNETES_STEP: Schema = {
    **_STEP, "user": integer, "group": integer,
    "volumes": [{"name": string, "path": string, "sub_path": string}],
}
_KUBERNETES_OBJECT: Schema = {"name": string, "default_mode": integer, "optional": boolean}
PIPELINE: Schema = {
    **_COMMON, "steps": [_KUBERNETES_STEP], "services": [_KUBERNETES_STEP],
    "clone": {**_CLONE, "retries": integer, "trace": boolean},
    "resources": _RESOURCES, "environment": _STRING_MAP,
    "volumes": [{**_VOLUME, "claim": {"name": string, "read_only": boolean},
                 "config_map": _KUBERNETES_OBJECT, "secret": _KUBERNETES_OBJECT}],
    "metadata": {"namespace": string, "annotations": _STRING_MAP, "labels": _STRING_MAP},
    "node_name": string, "node_selector": _STRING_MAP, "service_account_name": string,
    "tolerations": [{"key": string, "operator": string, "effect": string, "value": string,
                     "tolerationseconds": integer}],  # so in Drone's code, unlike its documentation
    "dns_config": {"nameservers": [string], "searches": [string],
                   "options": [{"name": string, "value": string}]},
    "host_aliases": [{"ip": string, "hostnames": [string]}],
}

_DOCKER_STEP: Schema = {
    **_STEP, "user": string, "network_mode": string, "dns": [string], "dns_search": [string],
    "extra_hosts": [string], "devices": [{"name": string, "path": string}],
    "ports": [or_fields(integer, {"port": integer, "host": integer, "protocol": string})],
    "push": or_fields(string, {"image": string}),
    "build": or_fields(string, {
        "args": _STRING_MAP, "cache_from": [string], "context": string, "dockerfile": string,
        "image": string, "labels": _STRING_MAP}),
}
_DOCKER: Schema = {**_COMMON, "steps": [_DOCKER_STEP], "services": [_DOCKER_STEP],
                   "workspace": {"base": string, "path": string}}
NOT_PIPELINES: dict[str, Schema] = {  # by kind; documents of any other kind are pipelines
    "secret": {**_HEAD, "data": string, "get": {"path": string, "name": string, "key": string}},
    "signature": {"kind": string, "hmac": string},
    "registry": {**_HEAD, "data": _STRING_MAP},
    "cron": {**_HEAD, "spec": {"schedule": string, "branch": string,
                               "deployment": {"target": string}}},
}


def server_schema(head: Fields) -> Schema:
    """Return the schema by which the server reads a document."""
    return NOT_PIPELINES.get(head.kind, _DOCKER)


def runner_schema(head: Fields) -> Schema:
    """Return the schema by which the runner reads a document; of other runners', only the head."""
    return PIPELINE if is_kubernetes(head) else NOT_PIPELINES.get(head.kind, _HEAD)


def any_pipeline_schema(head: Fields) -> Schema:
    """Return the runner's schema, for pipelines of other runners too."""
    return PIPELINE if head.kind == "pipeline" else runner_schema(head)


def is_kubernetes(document: Fields) -> bool:
    """Return whether a document is a pipeline for the Kubernetes runner."""
    return bool(document.kind == "pipeline" and document.type == "kubernetes")


def services_and_steps(pipeline: Fields) -> list[Fields]:
    """Return the services and steps of a pipeline in Drone's order."""
    return [*pipeline.services, *pipeline.steps]


def read_documents(text: str, schema_of: Callable[[Fields], Schema],
                   lenient: bool = False) -> list[Fields]:
    """Decode the documents of a file, each by the schema for its kind, type and name.

    Raises FileError with Drone's message for every field of the wrong type; with `lenient`, such
    fields are empty instead.
    """
    documents: list[Fields] = []
    errors: list[str] = []
    for first_line, node in parse_documents(text):
        nodes, decoder = [node] if node else [], Decoder(first_line)
        schema = schema_of(Decoder(first_line).fields(nodes, _HEAD))
        documents.append(decoder.fields(nodes, schema))
        errors += dict.fromkeys(decoder.errors)
    if errors and not lenient:
        raise FileError("\n  ".join(["yaml: unmarshal errors:", *errors]))
    return documents
