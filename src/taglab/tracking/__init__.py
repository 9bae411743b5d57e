"""Where results go, and what is recorded of every run. `main.py` logs with plain `mlflow`."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.tracking.connection import connect, experiment_name, open_store, tracking_uri
    from taglab.tracking.provenance import pinned
    from taglab.tracking.run import start_run

__all__ = ["connect", "experiment_name", "open_store", "pinned", "start_run", "tracking_uri"]

__getattr__ = attributes(__name__, {
    "connection": ["connect", "experiment_name", "open_store", "tracking_uri"],
    "provenance": ["pinned"],
    "run": ["start_run"],
})
