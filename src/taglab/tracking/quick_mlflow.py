"""MLflow, imported quickly and quietly: it reads these settings while it is imported.

Modules of this library take `mlflow` from here, so that the settings come first.
"""

import atexit
import contextlib
import gc
import os
from collections.abc import Iterator

__all__ = ["mlflow", "without_garbage_collection"]


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not look for garbage among what is imported here: it stays, and there is much of it."""
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
# At exit too, Python would look through all of it, for half a second.
atexit.register(gc.freeze)
