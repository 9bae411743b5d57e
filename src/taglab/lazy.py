"""Loads the public names of a package when they are first used."""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any


def attributes(package: str, modules: Mapping[str, Collection[str]]) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) that loads public names on demand.

    `modules` maps each module of `package` to the public names that it defines. This keeps
    importing the package cheap: a search worker, for example, must fork before it imports MLflow.
    """
    defined_in = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in defined_in:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{defined_in[name]}"), name)

    return __getattr__
