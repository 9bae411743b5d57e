"""Hyperparameter search: many trials of one training function, in parallel. Call `search`."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.search.errors import SearchError, SearchFailed
    from taglab.search.result import SearchResult
    from taglab.search.start import search
    from taglab.search.worker import Pruned, Trial

__all__ = ["Pruned", "SearchError", "SearchFailed", "SearchResult", "Trial", "search"]

__getattr__ = attributes(__name__, {
    "errors": ["SearchError", "SearchFailed"],
    "result": ["SearchResult"],
    "start": ["search"],
    "worker": ["Pruned", "Trial"],
})
