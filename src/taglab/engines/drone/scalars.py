"""What a scalar means to Drone's YAML parser, a YAML 1.1 with rules of its own."""
from __future__ import annotations

import json
import math
import re
from decimal import Decimal

import yaml

Scalar = str | int | float | bool | None

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_WORDS: dict[str, bool | float] = {
    **dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False),
    **{f"{sign}.{name}": float(f"{sign}inf") for sign in ("", "+", "-")
       for name in ("inf", "Inf", "INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|"
                      r"(0|[1-9][0-9]{0,19}))")
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+][0-9]+)?|\.[0-9]+[eE][0-9]+")


def is_null(node: yaml.Node) -> bool:
    """Return whether a node is null, however it is written."""
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULLS


def scalar(node: yaml.ScalarNode) -> Scalar:
    """Return the value of a scalar by its own form, where no field says its type."""
    text: str = node.value
    if node.style:
        return text
    if text in _NULLS:
        return None
    return _WORDS[text] if text in _WORDS else _number(text)


def _number(text: str) -> str | int | float:
    """Return the number that a plain scalar is, or its text."""
    digits = text if text[0] == "." else text.replace("_", "")
    if found := _INTEGER.fullmatch(digits):
        base, written = next((base, written) for base, written in zip(_BASES, found.groups()[1:])
                             if written)
        value = int(f"{found[1]}{written}", base)
        if -2**63 <= value < 2**64:
            return value
    if text[0] in "+-.0123456789" and _FLOAT.fullmatch(digits) and math.isfinite(float(digits)):
        return float(digits)
    return text


def setting_text(value: object) -> str:
    """Return the value of a plugin's setting as its variable holds it.

    Lists of scalars are joined with commas; other lists and mappings become JSON, as Go writes it.
    """
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ",".join("" if item is None else _scalar_text(item) for item in value)
    if value is None or isinstance(value, (list, dict)):
        written = json.dumps(_for_json(value), separators=(",", ":"), sort_keys=True,
                             ensure_ascii=False)
        return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", written)
    return _scalar_text(value)


def _for_json(value: object) -> object:
    if isinstance(value, dict):
        return {_scalar_text(name): _for_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_for_json(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _scalar_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _float_text(value) if isinstance(value, float) else str(value)


def _float_text(value: float) -> str:
    """Format a float like Go's %g: the shortest form, with an exponent from a million on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    shortest = Decimal(repr(value)).normalize()
    if -4 <= shortest.adjusted() < 6:
        return f"{shortest:f}"
    return f"{value:.{len(shortest.as_tuple().digits) - 1}e}"
