"""The data that a process reads."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.datasets.cache import local_copy

__all__ = ["local_copy"]

__getattr__ = attributes(__name__, {"cache": ["local_copy"]})
