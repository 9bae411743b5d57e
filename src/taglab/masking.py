"""Masks secrets in output, by the rules of Drone."""
from __future__ import annotations

import re
from collections.abc import Iterable

_MASK = b"******"


class Mask:
    """Replaces secrets by six stars, as Drone does."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        by_length = sorted(parts, key=len, reverse=True)  # the longest match first
        self._longest = len(by_length[0]) if by_length else 0
        self._pattern = re.compile(b"|".join(map(re.escape, by_length)))

    def __call__(self, text: bytes) -> bytes:
        """Return `text` with all secrets masked."""
        return self._pattern.sub(_MASK, text) if self._longest else text

    def safe_end(self, text: bytes) -> int:
        """Return an index at which the unfinished line `text` can be split outside any secret."""
        end = len(text) - max(self._longest - 1, 0)
        for found in self._pattern.finditer(text) if self._longest else ():
            if found.start() < end < found.end():
                return found.end()
        return end


def make_mask(secrets: Iterable[str]) -> Mask:
    """Return a mask for every line of every secret, except lines of a single byte."""
    parts = {part.strip().encode() for secret in secrets for part in secret.split("\n")}
    return Mask(part for part in parts if len(part) > 1)
