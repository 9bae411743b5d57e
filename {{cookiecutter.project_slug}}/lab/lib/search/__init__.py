"""Many trials of one training function, run in parallel: `search` is all there is to call."""

from .plan import SearchError
from .result import SearchFailed, SearchResult
from .start import search

__all__ = ["SearchError", "SearchFailed", "SearchResult", "search"]
