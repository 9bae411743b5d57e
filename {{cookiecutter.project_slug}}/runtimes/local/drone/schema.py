"""The fields of `.drone.yml` and the type of each, for Drone's server and for its runner.

The server knows Docker's pipelines and reads every pipeline as one; the runner reads its own.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from local.drone.documents import Document, Fields, FileError

Reader = Callable[[Fields, str], object]
Schema = dict[str, "Reader | Schema | list[Schema]"]

TEXT, INTEGER, BOOLEAN, TEXTS = Fields.text, Fields.integer, Fields.boolean, Fields.texts
CONDITION = Fields.condition
_SIZE = re.compile(r"\d+(\.\d+)* ?[kKmMgGtTpP]?[iI]?[bB]?")
NOT_PIPELINES = ("secret", "signature", "cron", "registry", "template")  # all else is one


def text_map(fields: Fields, name: str) -> None:
    """Read a mapping of texts."""
    inner = fields.fields(name)
    for key in inner:
        inner.text(key)


def variables(fields: Fields, name: str) -> None:
    """Read a mapping of texts or `{from_secret: NAME}`."""
    inner = fields.fields(name)
    for key in inner:
        if inner.is_mapping(key):
            check_types(inner.fields(key), {"value": TEXT, "from_secret": TEXT})
        else:
            inner.text(key)


def any_map(fields: Fields, name: str) -> None:
    """Read a mapping of anything."""
    fields.fields(name)


def size(fields: Fields, name: str) -> None:
    """Read a number of bytes, with or without a unit."""
    text = fields.text(name)
    if not fields.is_null(name) and not _SIZE.fullmatch(text):
        fields.reject(name, "a size")


def text_or(schema: Schema) -> Reader:
    """Read a text or a mapping."""
    def read(fields: Fields, name: str) -> None:
        if fields.is_mapping(name):
            check_types(fields.fields(name), schema)
        else:
            fields.text(name)
    return read


AMOUNTS: Schema = {"cpu": INTEGER, "memory": size}
RESOURCES: Schema = {"requests": AMOUNTS, "limits": AMOUNTS}
CONDITIONS: Schema = {name: CONDITION for name in (
    "branch", "event", "action", "ref", "repo", "target", "cron", "status", "instance", "paths")}
_HEAD: Schema = {"kind": TEXT, "type": TEXT, "name": TEXT, "version": TEXT}
_STEP: Schema = {
    "name": TEXT, "image": TEXT, "commands": TEXTS, "environment": variables, "settings": any_map,
    "depends_on": TEXTS, "when": CONDITIONS, "failure": TEXT, "detach": BOOLEAN,
    "privileged": BOOLEAN, "pull": TEXT, "resources": RESOURCES, "working_dir": TEXT,
    "entrypoint": TEXTS, "command": TEXTS, "shell": TEXT,
    "volumes": [{"name": TEXT, "path": TEXT}],
}
_OBJECT: Schema = {"name": TEXT, "default_mode": INTEGER, "optional": BOOLEAN}
_BOTH: Schema = {
    **_HEAD, "depends_on": TEXTS,
    "clone": {"disable": BOOLEAN, "depth": INTEGER, "skip_verify": BOOLEAN},
    "concurrency": {"limit": INTEGER}, "node": text_map,
    "platform": {"os": TEXT, "arch": TEXT, "variant": TEXT, "version": TEXT},
    "trigger": CONDITIONS, "services": [_STEP], "steps": [_STEP],
    "volumes": [{"name": TEXT, "temp": {"medium": TEXT, "size_limit": size},
                 "host": {"path": TEXT}}],
    "image_pull_secrets": TEXTS, "workspace": {"path": TEXT},
}

STEP: Schema = {**_STEP, "user": INTEGER, "group": INTEGER,
                "volumes": [{"name": TEXT, "path": TEXT, "sub_path": TEXT}]}
PIPELINE: Schema = {
    **_BOTH, "steps": [STEP], "services": [STEP],
    "clone": {**_BOTH["clone"], "retries": INTEGER, "trace": BOOLEAN},
    "resources": RESOURCES, "environment": text_map,
    "volumes": [{**_BOTH["volumes"][0], "claim": {"name": TEXT, "read_only": BOOLEAN},
                 "config_map": _OBJECT, "secret": _OBJECT}],
    "metadata": {"namespace": TEXT, "annotations": text_map, "labels": text_map},
    "node_name": TEXT, "node_selector": text_map, "service_account_name": TEXT,
    "tolerations": [{"key": TEXT, "operator": TEXT, "effect": TEXT, "value": TEXT,
                     "toleration_seconds": INTEGER}],
    "dns_config": {"nameservers": TEXTS, "searches": TEXTS,
                   "options": [{"name": TEXT, "value": TEXT}]},
    "host_aliases": [{"ip": TEXT, "hostnames": TEXTS}],
}

_DOCKER_STEP: Schema = {
    **_STEP, "user": TEXT, "network_mode": TEXT, "dns": TEXTS, "dns_search": TEXTS,
    "extra_hosts": TEXTS, "devices": [{"name": TEXT, "path": TEXT}],
    "push": text_or({"image": TEXT}),
    "build": text_or({"args": text_map, "cache_from": TEXTS, "context": TEXT, "dockerfile": TEXT,
                      "image": TEXT, "labels": text_map}),
}
_DOCKER: Schema = {**_BOTH, "steps": [_DOCKER_STEP], "services": [_DOCKER_STEP],
                   "workspace": {"base": TEXT, "path": TEXT}}
_OTHERS: dict[str, Schema] = {
    "secret": {**_HEAD, "data": TEXT, "get": {"path": TEXT, "name": TEXT, "key": TEXT}},
    "signature": {"kind": TEXT, "hmac": TEXT},
    "registry": {**_HEAD, "data": text_map},
    "cron": {**_HEAD, "spec": {"schedule": TEXT, "branch": TEXT, "deployment": {"target": TEXT}}},
    "template": {},
}


def server_schema(document: Fields) -> Schema:
    """Return what the server expects in a document."""
    return _OTHERS.get(document.text("kind"), _DOCKER)


def runner_schema(document: Fields) -> Schema:
    """Return what the Kubernetes runner expects in a document; it leaves others unread."""
    return PIPELINE if is_kubernetes(document) else _OTHERS.get(document.text("kind"), {})


def is_kubernetes(document: Fields) -> bool:
    """Say whether a document is a pipeline for the Kubernetes runner."""
    return (document.text("kind"), document.text("type")) == ("pipeline", "kubernetes")


def check_documents(documents: Iterable[Document], schema: Callable[[Fields], Schema]) -> None:
    """Raise FileError with Drone's text for each field of a wrong type."""
    errors = []
    for document in documents:
        check_types(document.fields, schema(document.fields))
        errors += dict.fromkeys(document.fields.errors)
    if errors:
        raise FileError("\n  ".join(["yaml: unmarshal errors:", *errors]))


def check_types(fields: Fields, schema: Schema) -> None:
    """Read every field with its type, so that each wrong one is in `fields.errors`."""
    for name, kind in schema.items():
        if name not in fields:
            continue
        if isinstance(kind, dict):
            check_types(fields.fields(name), kind)
        elif isinstance(kind, list):
            for item in fields.items(name):
                check_types(item, kind[0])
        else:
            kind(fields, name)
