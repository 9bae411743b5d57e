"""The secrets of a lab on this machine."""
from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from taglab.engines.drone.fields import Secret
from taglab.errors import LabError

FILE = Path(".lab", "secrets.toml")
PREFIX = "LAB_SECRET_"


def read_secrets(lab: Path, shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the secrets in `.lab/secrets.toml` and in variables LAB_SECRET_NAME, by name.

    The file holds lines `name = "value"`. Raises LabError if it is not valid TOML, or if others
    than its owner may access it.
    """
    secrets: dict[str, str] = {}
    file = lab / FILE
    if file.exists():
        if file.stat().st_mode & 0o077:
            raise LabError(f"others may read {file}. Type: chmod 600 {file}")
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise LabError(f"{FILE}: {error}") from error
        secrets = {name: str(value) for name, value in found.items()}
    for name, value in shell.items():
        if name.startswith(PREFIX):
            secrets[name.removeprefix(PREFIX).lower()] = value
    return secrets


def look_up_secrets(environment: Mapping[str, str | Secret],
                    secrets: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables with their secrets filled in, and the values of those secrets.

    A secret that is not known is empty. Names are compared without case.
    """
    found = {name.lower(): value for name, value in secrets.items()}
    values = {name: found.get(value.name.lower(), "") if isinstance(value, Secret) else value
              for name, value in environment.items()}
    used = [values[name] for name, value in environment.items() if isinstance(value, Secret)]
    return values, used
