"""What a training cannot do, refused before it starts and with what to type instead."""

import inspect
import posixpath
import re
from collections.abc import Iterable

from taglab.tracking.quick_mlflow import mlflow  # noqa: F401  before other imports of MLflow
from mlflow.utils.validation import (
    MAX_ENTITY_KEY_LENGTH, path_not_unique, validate_param_and_metric_name)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from taglab.training.distributed import world_size

OWN_NAMES = ("loss", "learning_rate", "regularisation")  # what `fit` itself measures
PREFIX = "val_"  # of the metrics of the validation data


def check_metrics(names: Iterable[str]) -> None:
    """Raise ValueError for metrics that `fit` or MLflow would refuse after the training."""
    names = [*names]
    derived = {f"{PREFIX}{name}" for name in ("loss", *names)}
    for name in names:
        if name in OWN_NAMES or name in derived:
            raise ValueError(f"metrics: {name!r} is the name of something that fit measures "
                             "itself; take another name")
        if not all(map(is_possible, (name, f"{PREFIX}{name}"))):
            raise ValueError(f"metrics: MLflow takes no metric {name!r}; call it "
                             f"{possible_name(name)!r}")


def is_possible(name: str) -> bool:
    """Return whether MLflow takes a metric of this name."""
    matched = validate_param_and_metric_name(name)  # type: ignore[no-untyped-call]  # of MLflow
    doubtful = path_not_unique(name)  # type: ignore[no-untyped-call]
    return bool(matched) and not doubtful and len(name) <= MAX_ENTITY_KEY_LENGTH


def possible_name(name: str) -> str:
    """Return a similar name of a metric that MLflow takes, also as that of validation data."""
    words = re.sub(r"[^\w.\-/ ]", "_", name)[:MAX_ENTITY_KEY_LENGTH - len(PREFIX)]
    return posixpath.normpath(f"/{words}").lstrip("/") or "metric"


def check_options(
    epochs: int, batch_size: int, best: str, maximize: bool, known: Iterable[str],
    schedule_each: str
) -> None:
    """Raise ValueError for options that cannot be met.

    known: the metrics that are measured.
    """
    if best not in {*known}:
        raise ValueError(f"best={best!r} is not measured; known: {', '.join(known)}")
    if maximize and best in ("loss", f"{PREFIX}loss"):
        raise ValueError(f"maximize=True, but less of {best} is better: leave it out, or name the "
                         "metric with best=")
    if epochs < 1 or batch_size < 1 or batch_size % world_size():
        raise ValueError(f"epochs={epochs} must be 1 or more, batch_size={batch_size} a multiple "
                         f"of the number of processes, {world_size()}")
    if schedule_each not in ("epoch", "step"):
        raise ValueError(f"schedule_each={schedule_each!r} is neither 'epoch' nor 'step'")


def check_optimizer(optimizer: Optimizer) -> None:
    """Raise ValueError for an optimizer that computes the loss itself, as LBFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure and closure.default is closure.empty:
        raise ValueError(f"{type(optimizer).__name__} computes the loss several times in a step, "
                         "which fit does not: take one such as torch.optim.Adam, or write the "
                         "loop yourself, with optimizer.step(closure)")


def check_schedule(
    schedule: LRScheduler | None, schedule_each: str, best: str, maximize: bool
) -> None:
    """Raise ValueError for a ReduceLROnPlateau that fit would move the wrong way."""
    if not isinstance(schedule, ReduceLROnPlateau):
        return
    if schedule_each != "epoch":
        raise ValueError("ReduceLROnPlateau watches a metric of whole epochs: leave out "
                         f"schedule_each={schedule_each!r}")
    mode = "max" if maximize else "min"
    if schedule.mode != mode:
        raise ValueError(
            f"ReduceLROnPlateau has mode={schedule.mode!r}, but {'more' if maximize else 'less'} "
            f"of {best} is better: pass mode={mode!r} to it, or maximize={not maximize} to fit")
