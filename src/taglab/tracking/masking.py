"""Masks in what a run stores the secrets that its step got, as the log of the build does.

A process is not told which of its variables are secrets, on no engine; the lab's `.drone.yml` is.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from taglab.lab import lab_root
from taglab.masking import Mask, make_mask

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_mask(environment: Mapping[str, str] = os.environ) -> Mask:
    """Return a mask for the values of all variables that the lab's `.drone.yml` takes from secrets.

    A lab without that file, or with one that is no YAML, has no secrets. Raises NoLab.
    """
    file = lab_root(environment=environment) / ".drone.yml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return make_mask(environment[name] for name in secret_names(text) if name in environment)


def secret_names(text: str) -> set[str]:
    """Return the names of all variables with `from_secret` in a `.drone.yml`.

    There are none where it is no YAML. A setting NAME reaches its step as PLUGIN_NAME.
    """
    try:
        found = {str(name) for document in yaml.load_all(text, Loader=_LOADER)
                 for name in _from_secrets(document, set())}
    except (yaml.YAMLError, ValueError, RecursionError):
        return set()
    return found | {f"PLUGIN_{name.upper()}" for name in found}


def mask_file(file: Path, mask: Mask) -> None:
    """Mask the secrets in a file."""
    masked = file.with_name(f"{file.name}.masked")
    with file.open("rb") as source, masked.open("wb") as target:
        for line in source:  # no secret goes beyond the end of a line
            target.write(mask(line))
    masked.replace(file)


def _from_secrets(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yield every key whose value is a mapping with `from_secret`."""
    if not isinstance(node, dict | list) or id(node) in seen:  # an alias may hold itself
        return
    seen.add(id(node))
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict) and "from_secret" in value:
            yield name
        yield from _from_secrets(value, seen)
