"""The secrets of a lab on this machine, and how they are hidden in what a step prints."""
from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from local.pipeline import Secret

FILE = Path(".lab", "secrets.toml")
_PREFIX = "LAB_SECRET_"
_MASK = b"******"


def read_secrets(lab: Path, shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the secrets of `.lab/secrets.toml` and of variables LAB_SECRET_…, by name.

    The file holds lines `name = "value"` and must be readable by its owner alone. Raises
    PermissionError or ValueError where it is not, or is no TOML.
    """
    secrets: dict[str, str] = {}
    file = lab / FILE
    if file.exists():
        if file.stat().st_mode & 0o077:
            raise PermissionError(f"others may read {file}; type: chmod 600 {file}")
        secrets = {name: str(value) for name, value in
                   tomllib.loads(file.read_text(encoding="utf-8")).items()}
    for name, value in shell.items():
        if name.startswith(_PREFIX):
            secrets[name.removeprefix(_PREFIX).lower()] = value
    return secrets


def look_up_secrets(environment: Mapping[str, str | Secret],
                    secrets: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables with the secrets filled in, and the secrets; unknown ones are empty."""
    found = {name.lower(): value for name, value in secrets.items()}
    values = {name: found.get(value.name.lower(), "") if isinstance(value, Secret) else value
              for name, value in environment.items()}
    used = [values[name] for name, value in environment.items() if isinstance(value, Secret)]
    return values, used


def make_mask(secrets: Iterable[str]) -> Callable[[bytes], bytes]:
    """Return a function that replaces every line of every secret by six stars.

    Parts of one byte are left alone; the longest part wins where one begins another.
    """
    parts = {part.strip() for secret in secrets for part in secret.split("\n")}
    long_enough = sorted((part.encode() for part in parts if len(part.encode()) > 1),
                         key=len, reverse=True)
    if not long_enough:
        return lambda line: line
    pattern = re.compile(b"|".join(map(re.escape, long_enough)))
    return lambda line: pattern.sub(_MASK, line)
