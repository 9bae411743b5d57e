"""The training function as the objective of a search: its parameters and what it returns.

The server imports this module before it forks, so it imports the standard library only.
"""

import inspect
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from taglab.names import refusal

Choices = dict[str, list[Any]]  # values by parameter; a point holds an index into its list


def params_at(point: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """Return the arguments of the training function at a point."""
    return {name: choices[name][value] if name in choices else value
            for name, value in point.items()}


def takes_trial(train: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter named `trial`."""
    return "trial" in inspect.signature(train).parameters


def name_of(train: Callable[..., Any]) -> str:
    """Return the name of a function, of the function in a `partial`, or of a callable's class."""
    name: str = getattr(getattr(train, "func", train), "__qualname__", type(train).__qualname__)
    return name


def read_result(
    result: object, wanted: list[str], folder: Path, train: str = "train"
) -> dict[str, float]:
    """Return the metrics among the values that a training function returned.

    Copies returned files into the trial's folder and saves returned figures there.

    result: a number, or a mapping of names to numbers, paths of files or folders, and figures.
    wanted: the metrics to optimise; empty for the only one.
    folder: the trial's own.
    train: the name of the function, for messages.

    Raises TypeError, ValueError or FileNotFoundError where a value cannot be used, or a wanted
    metric is missing or not finite.
    """
    if result is None:
        raise TypeError(f"{train} returned None; return the number to optimise, or a dict")
    values = result if isinstance(result, Mapping) else {(wanted or ["value"])[0]: result}
    metrics = {}
    for name, value in values.items():
        if isinstance(value, (str, Path)):
            if not Path(value).exists():
                raise FileNotFoundError(f"{train} returned {name}={str(value)!r}, but there is no"
                                        f" such file; write it before you return its path")
            _keep_file(name, Path(value), folder)
        elif hasattr(value, "savefig"):
            value.savefig(folder / f"{name}.png")
        else:
            metrics[name] = _read_metric(name, value, train)
    _check_wanted(metrics, wanted, train)
    return metrics


def _read_metric(name: str, value: Any, train: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{train} returned {name}={value!r:.80}; return a number, the path of a"
                        f" file or a figure") from None
    if reason := refusal(name):
        raise ValueError(f"{train} returned {name[:80]!r}; {reason}")
    return number


def _check_wanted(metrics: Mapping[str, float], wanted: list[str], train: str) -> None:
    """Raise ValueError unless the metrics to optimise are there and finite."""
    returned = ", ".join(metrics) or "no number"
    if not wanted and len(metrics) != 1:
        raise ValueError(f"{train} returned {returned}; name the metric to optimise: "
                         f"search(…, metric={next(iter(metrics), 'accuracy')!r})")
    for name in wanted or metrics:
        if name not in metrics:
            raise ValueError(f"{train} returned {returned}, but not the metric {name!r}; "
                             f"return it, or name another: search(…, metric=…)")
        if not math.isfinite(metrics[name]):
            raise ValueError(f"{train} returned {name}={metrics[name]}; a metric to optimise must "
                             f"be a finite number")


def _keep_file(name: str, path: Path, folder: Path) -> None:
    """Copy a file or a folder into the trial's folder, unless it is there already."""
    if folder.resolve() in path.resolve().parents:
        return
    target = folder if not (folder / path.name).exists() else folder / name
    target.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target / path.name)
    else:
        shutil.copy2(path, target / path.name)
