"""Imports MLflow quickly and quietly: MLflow reads the settings below while it is imported.

The modules of this library import this one before any other of MLflow's.
"""

import atexit
import contextlib
import gc
import os
from collections.abc import Iterator

__all__ = ["mlflow", "without_garbage_collection"]


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Suspend garbage collection for the body, and exempt from it what the body allocates.

    For imports: they allocate many objects, and all of them stay.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_DISABLE_AGENT_HINT", "true")
with without_garbage_collection():
    import mlflow
# At exit, too, Python would search all of it for garbage, for half a second.
atexit.register(gc.freeze)
