"""The base class of all errors that a person can fix."""


class LabError(Exception):
    """An error that a person can fix; the message says what is wrong and what to type."""
