"""Trainings put together from configuration: data, models and the rest by their names.

    [dataset]                                [model]
    class = "digits:Digits"                  class = "networks:Dense"
    size = 500                               hidden = 64
    [dataset.train]                          [training]
    part = "train"                           loss = "torch.nn:CrossEntropyLoss"
    [dataset.validation]                     optimizer = {class = "torch.optim:Adam", lr = 0.01}
    part = "validation"                      epochs = 10

Other keys of `training` go to its `trainer`, by default `taglab.training:fit`. Where a table is a
list of tables (`[[model]]`) each is one choice, and all combinations are tried by

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
from taglab.training import make_repeatable

FUNCTIONS = ("loss", "optimizer", "schedule", "sampler")  # of a training
PARTS = ("train", "validation")


class UnknownName(ValueError):
    """A name in a configuration that is not there; the message lists those that come near."""


def train(
    dataset: Mapping[str, Any], model: Mapping[str, Any], training: Mapping[str, Any]
) -> dict[str, float]:
    """Train what a configuration describes; return the metrics of the best epoch as `best_…`."""
    settings = {"trainer": "taglab.training:fit", **training}
    make_repeatable(settings.get("seed", 0))
    common = {name: value for name, value in dataset.items() if name not in PARTS}
    parts = [make({**common, **dataset.get(part, {})}) for part in PARTS]
    network = make(model, **shapes(parts[0]))
    for name in {*FUNCTIONS} & {*settings}:
        settings[name] = make(settings[name], later=True)
    if "metrics" in settings:
        settings["metrics"] = {name: make(each, later=True)
                               for name, each in settings["metrics"].items()}
    done = find(settings.pop("trainer"))(network, *parts, **settings)
    return {f"best_{name}": value for name, value in done.best.items()}


def combinations(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the tables that are lists; the last one changes fastest."""
    choices = [value if isinstance(value, list) else [value] for value in config.values()]
    return [dict(zip(config, choice)) for choice in product(*choices)]


def make(named: str | Mapping[str, Any], later: bool = False, **offered: Any) -> Any:
    """Return what a class makes of the other keys of its table and, if it wants them, of `offered`.

    With `later`, what is no module is a function that still wants its arguments.
    """
    given = {"class": named} if isinstance(named, str) else dict(named)
    name = given.pop("class")
    found = find(name)
    known = inspect.signature(found).parameters
    every = any(each.kind is each.VAR_KEYWORD for each in known.values())
    for key in given:
        if not every and key not in known:
            raise UnknownName(f"{name} takes no {key!r}{near(key, known)}")
    given |= {key: value for key, value in offered.items() if every or key in known}
    is_module = inspect.isclass(found) and issubclass(found, nn.Module)
    return partial(found, **given) if later and not is_module else found(**given)


def find(name: str) -> Any:
    """Return the object that `module:Class` names."""
    module, colon, path = name.partition(":")
    if not colon:
        raise UnknownName(f"{name!r} is not of the form module:Class")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another one
        package, _, last = error.name.rpartition(".")
        places = importlib.import_module(package).__path__ if package else None
        known = [each.name for each in pkgutil.iter_modules(places)]
        raise UnknownName(f"no module {error.name!r} for {name!r}{near(last, known)}") from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise UnknownName(f"{module} has no {path!r}{near(part, dir(found))}")
        found = getattr(found, part)
    return found


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint at the names that come near."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {', '.join(found)}?" if found else ""


def shapes(data: Any) -> dict[str, Any]:
    """Return what a model can be made from: the shapes of a sample, and what the data adds.

    Class numbers want an output of one score a class: as many as the tensor of targets shows,
    or as the data set's `classes` names.
    """
    tensors = as_tensors(data)
    x, y = [tensor[0] for tensor in tensors] if tensors else map(torch.as_tensor, data[0])
    output = tuple(y.shape)
    if not output and not y.is_floating_point():
        output = (int(tensors[-1].max()) + 1 if tensors else len(data.classes),)
    return {"input_shape": tuple(x.shape), "output_shape": output,
            **getattr(data, "additional_model_params", dict)()}
