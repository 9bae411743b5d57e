"""Compares what two logged models predict: `python -P predictions.py MODEL MODEL`, both folders.

Prints JSON: `by`, the largest relative difference, or `reason`, why they were not compared. It runs
in the environment and with the code of the models' commit, so it needs nothing but MLflow.
"""

import contextlib
import json
import sys
from typing import Any


def compare(old: str, new: str) -> dict[str, Any]:
    """Return how the predictions of two models for the first one's input example compare."""
    import mlflow

    first, second = (mlflow.pyfunc.load_model(model) for model in (old, new))
    example = first.input_example
    return {"by": largest_difference(first.predict(example), second.predict(example))}


def largest_difference(old: Any, new: Any) -> float:
    """Return the largest relative difference of two predictions; infinity for another shape.

    Predictions are arrays, tables, lists or dicts of them; words are equal or not.
    """
    import numpy as np

    if isinstance(old, dict) and isinstance(new, dict):
        if old.keys() != new.keys():
            return float("inf")
        return max((largest_difference(old[name], new[name]) for name in old), default=0.0)
    a, b = np.asarray(old), np.asarray(new)
    if a.shape != b.shape:
        return float("inf")
    if not (np.issubdtype(a.dtype, np.number) and np.issubdtype(b.dtype, np.number)):
        return 0.0 if bool(np.all(a == b)) else float("inf")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    larger = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(all="ignore"):
        by = np.where(same, 0.0, np.abs(a - b) / larger)
    return float(np.nan_to_num(by, nan=np.inf, posinf=np.inf).max(initial=0.0))


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        try:
            found = compare(*sys.argv[1:])
        except Exception as error:
            found = {"reason": f"it cannot be loaded: {type(error).__name__}: {error}"[:300]}
    print(json.dumps(found))
