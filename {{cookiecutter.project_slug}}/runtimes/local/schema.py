"""The fields that Drone's Kubernetes pipelines have, and the type of each."""
from __future__ import annotations

from collections.abc import Callable

from local.documents import Fields

Reader = Callable[[Fields, str], object]
Schema = dict[str, "Reader | Schema | list[Schema]"]

TEXT, INTEGER, BOOLEAN, TEXTS = Fields.text, Fields.integer, Fields.boolean, Fields.texts
CONDITION, ANYTHING = Fields.condition, Fields.is_null


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
            inner.fields(key).text("from_secret")
        else:
            inner.text(key)


def any_map(fields: Fields, name: str) -> None:
    """Read a mapping of anything."""
    fields.fields(name)


AMOUNTS: Schema = {"cpu": INTEGER, "memory": TEXT}
RESOURCES: Schema = {"requests": AMOUNTS, "limits": AMOUNTS}
TRIGGER: Schema = {name: CONDITION for name in (
    "branch", "event", "action", "ref", "repo", "target", "cron", "status", "instance", "paths")}
STEP: Schema = {
    "name": TEXT, "image": TEXT, "commands": TEXTS, "environment": variables, "settings": any_map,
    "depends_on": TEXTS, "when": TRIGGER, "failure": TEXT, "detach": BOOLEAN,
    "privileged": BOOLEAN, "pull": TEXT, "resources": RESOURCES, "user": INTEGER,
    "group": INTEGER, "working_dir": TEXT, "entrypoint": TEXTS, "command": TEXTS, "shell": TEXT,
    "volumes": [{"name": TEXT, "path": TEXT, "sub_path": TEXT}],
}
_OBJECT: Schema = {"name": TEXT, "default_mode": INTEGER, "optional": BOOLEAN}
PIPELINE: Schema = {
    "kind": TEXT, "type": TEXT, "name": TEXT, "version": TEXT, "depends_on": TEXTS,
    "clone": {"disable": BOOLEAN, "depth": INTEGER, "retries": INTEGER, "skip_verify": BOOLEAN,
              "trace": BOOLEAN},
    "concurrency": {"limit": INTEGER}, "node": text_map,
    "platform": {"os": TEXT, "arch": TEXT, "variant": TEXT, "version": TEXT},
    "trigger": TRIGGER, "resources": RESOURCES, "environment": text_map,
    "services": [{**STEP, "ports": ANYTHING}], "steps": [STEP],
    "volumes": [{"name": TEXT, "temp": {"medium": TEXT, "size_limit": TEXT},
                 "host": {"path": TEXT}, "claim": {"name": TEXT, "read_only": BOOLEAN},
                 "config_map": _OBJECT, "secret": _OBJECT}],
    "image_pull_secrets": TEXTS, "workspace": {"path": TEXT, "base": TEXT},
    "metadata": {"namespace": TEXT, "annotations": text_map, "labels": text_map},
    "node_name": TEXT, "node_selector": text_map, "service_account_name": TEXT,
    "tolerations": [{"key": TEXT, "operator": TEXT, "effect": TEXT, "value": TEXT,
                     "toleration_seconds": INTEGER}],
    "dns_config": {"nameservers": TEXTS, "searches": TEXTS,
                   "options": [{"name": TEXT, "value": TEXT}]},
    "host_aliases": [{"ip": TEXT, "hostnames": TEXTS}],
}


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
