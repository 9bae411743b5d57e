"""Machine-learning experiments that run when a git tag is pushed."""

__version__ = "0.2.0"
