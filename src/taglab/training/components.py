"""Trainings assembled from a configuration that names the data, the model and all other parts.

    [dataset]                                [model]
    class = "digits:Digits"                  class = "networks:Dense"
    size = 500                               hidden = 64
    [dataset.train]                          [training]
    part = "train"                           loss = "torch.nn:CrossEntropyLoss"
    [dataset.validation]                     optimizer = {class = "torch.optim:Adam", lr = 0.01}
    part = "validation"                      epochs = 10

Other keys of `training` are passed to its `trainer`, by default `taglab.training:fit`. A table can
be a list of tables (`[[model]]`), each of them a choice; a search tries all combinations:

    search(train, combinations(config), method="list", metric="best_val_loss",
           direction="minimize", skip_finished=True)
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn

from taglab.training.data import as_tensors
from taglab.training.fitting import make_repeatable

FUNCTIONS = ("loss", "optimizer", "schedule", "sampler")  # of a training
PARTS = ("train", "validation")


class UnknownName(ValueError):
    """A configuration names something that does not exist; the message lists similar names."""


def train(
    dataset: Mapping[str, Any], model: Mapping[str, Any], training: Mapping[str, Any]
) -> dict[str, float]:
    """Train what a configuration describes; return the metrics of the best epoch as `best_…`.

    Raises UnknownName for a class, a function or a parameter that does not exist.
    """
    settings = {"trainer": "taglab.training:fit", **training}
    make_repeatable(settings.get("seed", 0))
    common = {name: value for name, value in dataset.items() if name not in PARTS}
    parts = [instantiate({**common, **dataset.get(part, {})}) for part in PARTS]
    network = instantiate(model, **shapes(parts[0]))
    for name in {*FUNCTIONS} & {*settings}:
        settings[name] = as_function(settings[name])
    if "metrics" in settings:
        settings["metrics"] = {name: as_function(each)
                               for name, each in settings["metrics"].items()}
    done = import_object(settings.pop("trainer"))(network, *parts, **settings)
    return {f"best_{name}": value for name, value in done.best.items()}


def combinations(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the tables that are lists; the last one varies fastest."""
    choices = [value if isinstance(value, list) else [value] for value in config.values()]
    return [dict(zip(config, choice)) for choice in product(*choices)]


def instantiate(table: str | Mapping[str, Any], **optional: Any) -> Any:
    """Call the `class` of a table, or one without arguments, with the other keys of the table.

    optional: arguments that are passed only where the class has such parameters.

    Raises UnknownName for a class or a parameter that does not exist.
    """
    return _bind(table, optional)()


def as_function(table: str | Mapping[str, Any]) -> Any:
    """Return a function with the other keys of its table bound, or a module made from them.

    Raises UnknownName for a function or a parameter that does not exist.
    """
    bound = _bind(table, {})
    is_module = inspect.isclass(bound.func) and issubclass(bound.func, nn.Module)
    return bound() if is_module else bound


def _bind(table: str | Mapping[str, Any], optional: Mapping[str, Any]) -> partial[Any]:
    arguments = {"class": table} if isinstance(table, str) else dict(table)
    name = arguments.pop("class")
    function = import_object(name)
    known = inspect.signature(function).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in known.values())
    for key in arguments:
        if not takes_any and key not in known:
            raise UnknownName(f"{name} takes no {key!r}{suggestion(key, known)}")
    arguments |= {key: value for key, value in optional.items() if takes_any or key in known}
    return partial(function, **arguments)


def import_object(name: str) -> Any:
    """Return the object that `module:Class` names. Raises UnknownName when there is none."""
    module, colon, path = name.partition(":")
    if not colon:
        raise UnknownName(f"{name!r} is not of the form module:Class")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module}.".startswith(f"{missing}."):
            raise  # the module exists, and imports one that does not
        package, _, last = missing.rpartition(".")
        folders = importlib.import_module(package).__path__ if package else None
        known = [each.name for each in pkgutil.iter_modules(folders)]
        raise UnknownName(f"no module {missing!r} for {name!r}{suggestion(last, known)}") from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise UnknownName(f"{module} has no {path!r}{suggestion(part, dir(found))}")
        found = getattr(found, part)
    return found


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests similar names, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {', '.join(found)}?" if found else ""


def shapes(data: Any) -> dict[str, Any]:
    """Return the arguments that a model can take from the data.

    They are `input_shape` and `output_shape`, of one sample and without the batch dimension, and
    what the method `additional_model_params` of the data adds. Targets that are class numbers need
    a score for each class: as many as the tensor of targets, or the data's `classes`, shows.
    """
    tensors = as_tensors(data)
    x, y = [tensor[0] for tensor in tensors] if tensors else map(torch.as_tensor, data[0])
    output = tuple(y.shape)
    if not output and not y.is_floating_point():
        output = (int(tensors[-1].max()) + 1 if tensors else len(data.classes),)
    return {"input_shape": tuple(x.shape), "output_shape": output,
            **getattr(data, "additional_model_params", dict)()}
