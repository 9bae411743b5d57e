"""The base of all errors that a person can put right."""


class LabError(Exception):
    """Something a person can put right; the message says what is wrong and what to type."""
