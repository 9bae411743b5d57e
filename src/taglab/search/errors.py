"""The errors that a search raises."""


class SearchError(ValueError):
    """The search cannot be run as requested; the message says why and what to change."""


class SearchFailed(RuntimeError):
    """No trial of the search finished; the message holds a traceback where there is one."""


def check(condition: object, message: str) -> None:
    """Raise SearchError with `message` unless the condition is true."""
    if not condition:
        raise SearchError(message)
