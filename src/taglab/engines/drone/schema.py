"""The fields of `.drone.yml` and the kind of each, for Drone's server and for its runner.

The server knows Docker's pipelines and reads every pipeline as one; the runner reads its own.
"""
from __future__ import annotations

from collections.abc import Callable

from taglab.engines.drone.documents import FileError, parse_documents
from taglab.engines.drone.fields import ANY, Fields, Reader, Schema
from taglab.engines.drone.fields import boolean as BOOLEAN
from taglab.engines.drone.fields import condition as CONDITION
from taglab.engines.drone.fields import integer as INTEGER
from taglab.engines.drone.fields import or_fields, setting, size as SIZE, text_or, variable
from taglab.engines.drone.fields import text as TEXT

WORKSPACE = "/drone/src"
UNNAMED = "default"  # what Drone calls a pipeline without a name

TEXTS = [TEXT]
_TEXT_MAP: Schema = {ANY: TEXT}
_AMOUNTS: Schema = {"cpu": INTEGER, "memory": SIZE}
_RESOURCES: Schema = {"requests": _AMOUNTS, "limits": _AMOUNTS}
CONDITIONS: Schema = {name: CONDITION for name in (
    "branch", "event", "action", "ref", "repo", "target", "cron", "status", "instance", "paths")}
_HEAD: Schema = {"kind": TEXT, "type": text_or("docker"), "name": text_or(UNNAMED),
                 "version": TEXT}
_STEP: Schema = {
    "name": TEXT, "image": TEXT, "commands": TEXTS, "environment": {ANY: variable},
    "settings": {ANY: setting}, "depends_on": TEXTS, "when": CONDITIONS, "failure": TEXT,
    "detach": BOOLEAN, "privileged": BOOLEAN, "pull": TEXT, "resources": _RESOURCES,
    "working_dir": TEXT, "entrypoint": TEXTS, "command": TEXTS, "shell": TEXT,
    "volumes": [{"name": TEXT, "path": TEXT}],
}
_OBJECT: Schema = {"name": TEXT, "default_mode": INTEGER, "optional": BOOLEAN}
_BOTH: Schema = {
    **_HEAD, "depends_on": TEXTS,
    "clone": {"disable": BOOLEAN, "depth": INTEGER, "skip_verify": BOOLEAN},
    "concurrency": {"limit": INTEGER}, "node": _TEXT_MAP,
    "platform": {"os": TEXT, "arch": TEXT, "variant": TEXT, "version": TEXT},
    "trigger": CONDITIONS, "services": [_STEP], "steps": [_STEP],
    "volumes": [{"name": TEXT, "temp": {"medium": TEXT, "size_limit": SIZE},
                 "host": {"path": TEXT}}],
    "image_pull_secrets": TEXTS, "workspace": {"path": text_or(WORKSPACE)},
}

STEP: Schema = {**_STEP, "user": INTEGER, "group": INTEGER,
                "volumes": [{"name": TEXT, "path": TEXT, "sub_path": TEXT}]}
PIPELINE: Schema = {
    **_BOTH, "steps": [STEP], "services": [STEP],
    "clone": {**_BOTH["clone"], "retries": INTEGER, "trace": BOOLEAN},
    "resources": _RESOURCES, "environment": _TEXT_MAP,
    "volumes": [{**_BOTH["volumes"][0], "claim": {"name": TEXT, "read_only": BOOLEAN},
                 "config_map": _OBJECT, "secret": _OBJECT}],
    "metadata": {"namespace": TEXT, "annotations": _TEXT_MAP, "labels": _TEXT_MAP},
    "node_name": TEXT, "node_selector": _TEXT_MAP, "service_account_name": TEXT,
    "tolerations": [{"key": TEXT, "operator": TEXT, "effect": TEXT, "value": TEXT,
                     "tolerationseconds": INTEGER}],  # as Drone reads it, whatever it documents
    "dns_config": {"nameservers": TEXTS, "searches": TEXTS,
                   "options": [{"name": TEXT, "value": TEXT}]},
    "host_aliases": [{"ip": TEXT, "hostnames": TEXTS}],
}

_DOCKER_STEP: Schema = {
    **_STEP, "user": TEXT, "network_mode": TEXT, "dns": TEXTS, "dns_search": TEXTS,
    "extra_hosts": TEXTS, "devices": [{"name": TEXT, "path": TEXT}],
    "ports": [or_fields(INTEGER, {"port": INTEGER, "host": INTEGER, "protocol": TEXT})],
    "push": or_fields(TEXT, {"image": TEXT}),
    "build": or_fields(TEXT, {
        "args": _TEXT_MAP, "cache_from": TEXTS, "context": TEXT, "dockerfile": TEXT,
        "image": TEXT, "labels": _TEXT_MAP}),
}
_DOCKER: Schema = {**_BOTH, "steps": [_DOCKER_STEP], "services": [_DOCKER_STEP],
                   "workspace": {"base": TEXT, "path": TEXT}}
NOT_PIPELINES: dict[str, Schema] = {  # every other kind is one
    "secret": {**_HEAD, "data": TEXT, "get": {"path": TEXT, "name": TEXT, "key": TEXT}},
    "signature": {"kind": TEXT, "hmac": TEXT},
    "registry": {**_HEAD, "data": _TEXT_MAP},
    "cron": {**_HEAD, "spec": {"schedule": TEXT, "branch": TEXT, "deployment": {"target": TEXT}}},
}


def server_schema(head: Fields) -> Schema:
    """Return what the server expects in a document."""
    return NOT_PIPELINES.get(head.kind, _DOCKER)


def runner_schema(head: Fields) -> Schema:
    """Return what the Kubernetes runner expects in a document; it leaves others unread."""
    return PIPELINE if is_kubernetes(head) else NOT_PIPELINES.get(head.kind, _HEAD)


def any_pipeline_schema(head: Fields) -> Schema:
    """Return the runner's view of a document, also where it is another runner's."""
    return PIPELINE if head.kind == "pipeline" else runner_schema(head)


def is_kubernetes(document: Fields) -> bool:
    """Say whether a document is a pipeline for the Kubernetes runner."""
    return document.kind == "pipeline" and document.type == "kubernetes"


def read_documents(text: str, schema_of: Callable[[Fields], Schema],
                   lenient: bool = False) -> list[Fields]:
    """Read the documents of a file, each by the schema that its kind, type and name give.

    Raises FileError, with Drone's text for each field of a wrong type; those count as empty where
    reading is lenient.
    """
    documents, errors = [], []
    for first_line, node in parse_documents(text):
        nodes, reader = [node] if node else [], Reader(first_line)
        schema = schema_of(Reader(first_line).fields(nodes, _HEAD))
        documents.append(reader.fields(nodes, schema))
        errors += dict.fromkeys(reader.errors)
    if errors and not lenient:
        raise FileError("\n  ".join(["yaml: unmarshal errors:", *errors]))
    return documents
