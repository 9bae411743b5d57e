"""The types of fields: functions that decode a YAML node as Drone does.

Each returns its zero value for None, a field that the file omits.
"""
from __future__ import annotations

import re
from typing import TypeGuard

import yaml

from taglab.engines.drone.conditions import Condition
from taglab.engines.drone.fields import DecodeField, Decoder, Integer, Schema, Secret, String
from taglab.engines.drone.scalars import Scalar, is_null, scalar, setting_text

_SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?[kKmMgGtTpP]?[iI]?[bB]?")


def string(decoder: Decoder, node: yaml.Node | None) -> String:
    """Decode a scalar as it is written."""
    if node is None:
        return String()
    if not isinstance(node, yaml.ScalarNode):
        decoder.reject(node, "string")
        return String(line=decoder.line_of(node))
    return String("" if is_null(node) else node.value, decoder.line_of(node))


def string_or(default: str) -> DecodeField:
    """Decode a scalar as it is written, with a default for an empty one."""
    return lambda decoder, node: string(decoder, node) or String(default)


def integer(decoder: Decoder, node: yaml.Node | None) -> Integer:
    """Decode a whole number; of any other number, the fraction is dropped."""
    value = _scalar(node)
    if node is None or value is None:
        return Integer()
    if not _is_number(value):
        decoder.reject(node, "int")
        return Integer()
    return Integer(value, node.value)


def boolean(decoder: Decoder, node: yaml.Node | None) -> bool:
    """Decode a boolean of YAML 1.1."""
    value = _scalar(node)
    if node is not None and value is not None and not isinstance(value, bool):
        decoder.reject(node, "bool")
        return False
    return bool(value)


def size(decoder: Decoder, node: yaml.Node | None) -> String:
    """Decode a number of bytes, with or without a unit, as it is written."""
    found = string(decoder, node)
    value = _scalar(node)
    if (node is not None and value is not None and not _is_number(value)
            and not _SIZE.fullmatch(found)):
        decoder.reject(node, "a size")
    return found


def or_fields(scalar_type: DecodeField, schema: Schema) -> DecodeField:
    """Decode a mapping by the schema, and anything else by the type of a scalar."""
    return lambda decoder, node: (
        decoder.fields([node], schema) if isinstance(node, yaml.MappingNode)
        else scalar_type(decoder, node))


def condition(decoder: Decoder, node: yaml.Node | None) -> Condition:
    """Decode a condition: a scalar, a list, or a mapping of `include` and `exclude` lists.

    Like Drone, drops everything else without an error.
    """
    if isinstance(node, yaml.ScalarNode):
        return Condition((string(decoder, node),))
    if isinstance(node, yaml.SequenceNode):
        return Condition(_scalars(node))
    entries = Decoder(decoder.first_line).entries(node) if node else []
    lists = {key.value: _scalars(value) for key, value in entries
             if key.value in ("include", "exclude")
             and (isinstance(value, yaml.SequenceNode) or is_null(value))}
    return Condition(lists.get("include", ()), lists.get("exclude", ()),
                     dropped=len(lists) < len(entries))


def variable(decoder: Decoder, node: yaml.Node | None) -> str | Secret | None:
    """Decode a string or `{from_secret: NAME}`; None if the variable is not set at all."""
    if not isinstance(node, yaml.MappingNode):
        return None if node is None else string(decoder, node)
    found = decoder.fields([node], {"value": string, "from_secret": string})
    value: str = found.value
    return Secret(found.from_secret, found.line) if found.from_secret.strip() else value


def setting(decoder: Decoder, node: yaml.Node | None) -> str | Secret | None:
    """Decode a plugin's setting, of any type, into the value of its variable."""
    if isinstance(node, yaml.MappingNode):
        inner = Decoder(decoder.first_line)
        found = inner.fields([node], {"from_secret": string})
        if found.from_secret and not inner.errors:
            return Secret(found.from_secret, decoder.line_of(node))
    return None if node is None else setting_text(_plain(decoder, node))


def _plain(decoder: Decoder, node: yaml.Node) -> object:
    """Return a node as plain Python data."""
    if isinstance(node, yaml.ScalarNode):
        return scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(decoder, item) for item in node.value]
    return {scalar(key): _plain(decoder, value) for key, value in decoder.entries(node)}


def _is_number(value: Scalar) -> TypeGuard[int | float]:
    """Return whether a value fits into an integer; `.inf` and `.nan` do not."""
    return not isinstance(value, (bool, str, type(None))) and abs(value) < 2**63


def _scalar(node: yaml.Node | None) -> Scalar:
    """Return the value of a scalar; for a list or a mapping, a string that no type accepts."""
    if isinstance(node, yaml.ScalarNode):
        return scalar(node)
    return None if node is None else "[]"


def _scalars(node: yaml.Node) -> tuple[str, ...]:
    """Return the scalars of a list, null as an empty string."""
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    return tuple("" if is_null(item) else item.value
                 for item in items if isinstance(item, yaml.ScalarNode))
