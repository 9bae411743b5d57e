"""The errors that a search raises."""


class SearchError(ValueError):
    """The search cannot be run as requested; the message says why and what to change."""


class SearchFailed(RuntimeError):
    """No trial finished and met its constraints; the message says why, with a traceback if any."""


def check(condition: object, message: str) -> None:
    """Raise SearchError with `message` unless the condition is true."""
    if not condition:
        raise SearchError(message)
