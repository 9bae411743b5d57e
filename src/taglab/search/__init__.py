"""Many trials of one training function, run in parallel: `search` is all there is to call."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.search.plan import SearchError
    from taglab.search.result import SearchFailed, SearchResult
    from taglab.search.start import search

__all__ = ["SearchError", "SearchFailed", "SearchResult", "search"]

__getattr__ = attributes(__name__, {
    "plan": ["SearchError"],
    "result": ["SearchFailed", "SearchResult"],
    "start": ["search"],
})
