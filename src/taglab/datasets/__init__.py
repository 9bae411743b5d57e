"""The data that a process reads: `data.lock` names it, and the commit so holds what it was."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.datasets.cache import local_copy
    from taglab.datasets.lock import DataError
    from taglab.datasets.reading import path

__all__ = ["DataError", "local_copy", "path"]

__getattr__ = attributes(__name__, {
    "cache": ["local_copy"], "lock": ["DataError"], "reading": ["path"]})
