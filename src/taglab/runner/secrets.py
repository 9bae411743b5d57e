"""The secrets of a lab on this machine, and how they are hidden in what a step prints."""
from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from taglab.engines.drone.fields import Secret
from taglab.errors import LabError

FILE = Path(".lab", "secrets.toml")
_PREFIX = "LAB_SECRET_"
_MASK = b"******"


def read_secrets(lab: Path, shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the secrets of `.lab/secrets.toml` and of variables LAB_SECRET_…, by name.

    The file holds lines `name = "value"` and must be readable by its owner alone. Raises
    LabError where it is not, or is no TOML.
    """
    secrets: dict[str, str] = {}
    file = lab / FILE
    if file.exists():
        if file.stat().st_mode & 0o077:
            raise LabError(f"others may read {file}; type: chmod 600 {file}")
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise LabError(f"{FILE}: {error}") from error
        secrets = {name: str(value) for name, value in found.items()}
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


class Mask:
    """Replaces every part of a secret by six stars."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        by_length = sorted(parts, key=len, reverse=True)  # where one begins another, it wins
        self._longest = len(by_length[0]) if by_length else 0
        self._pattern = re.compile(b"|".join(map(re.escape, by_length)))

    def __call__(self, text: bytes) -> bytes:
        return self._pattern.sub(_MASK, text) if self._longest else text

    def safe_end(self, text: bytes) -> int:
        """Return where `text`, whose line goes on, can be cut without cutting a secret."""
        end = len(text) - max(self._longest - 1, 0)
        for found in self._pattern.finditer(text) if self._longest else ():
            if found.start() < end < found.end():
                return found.end()
        return end


def make_mask(secrets: Iterable[str]) -> Mask:
    """Return the mask for every line of every secret; parts of one byte are left alone."""
    parts = {part.strip().encode() for secret in secrets for part in secret.split("\n")}
    return Mask(part for part in parts if len(part) > 1)
