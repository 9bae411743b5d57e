"""Many trials of one training function, run in parallel: `search` is all there is to call."""

from typing import Any

__all__ = ["SearchError", "SearchFailed", "SearchResult", "search"]


def __getattr__(name: str) -> Any:
    # Only now: worker processes import this package too, and need neither MLflow nor Optuna.
    if name in __all__:
        from . import start

        return getattr(start, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
