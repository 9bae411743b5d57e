"""What this machine gives to every step: machine.toml beside this file, and the lab's own."""
from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from taglab.errors import LabError
from taglab.lab import LIBRARY

FILE = Path("runtimes", "machine.toml")


@dataclass(frozen=True)
class Settings:
    """The settings of the runner."""

    variables: Mapping[str, str]  # these win over those of .drone.yml
    shell: tuple[str, ...]  # the names of variables that are taken from the shell that pushed
    timeout_minutes: float  # of a pipeline
    tags_per_push: int  # of more tags in one push, the newest of each experiment runs


def read_settings(lab: Path) -> Settings:
    """Return the runner's settings, with those of the lab's `runtimes/machine.toml` put in.

    Raises LabError where that file cannot be used.
    """
    settings = default_settings()
    try:
        return _settings(lab / FILE, settings) if (lab / FILE).exists() else settings
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(f"{FILE}: {error}") from error


def default_settings() -> Settings:
    """Return the runner's settings without those of a lab."""
    return _settings(Path(__file__).with_name("machine.toml"), Settings({}, (), 0, 0))


def _settings(file: Path, defaults: Settings) -> Settings:
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    variables, shell, limits = (found.pop(name, {}) for name in ("variables", "shell", "limits"))
    unknown = [*found, *shell.keys() - {"names"},
               *limits.keys() - {"timeout_minutes", "tags_per_push"}]
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}. It may hold [variables], names in "
                         "[shell], timeout_minutes and tags_per_push in [limits]")
    return replace(defaults, variables={**defaults.variables, **variables},
                   shell=(*defaults.shell, *shell.get("names", [])),
                   timeout_minutes=float(limits.get("timeout_minutes", defaults.timeout_minutes)),
                   tags_per_push=int(limits.get("tags_per_push", defaults.tags_per_push)))


def machine_variables(settings: Settings, lab: Path, build: Path, environment: Path | None,
                      shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that the settings and the shell that pushed give to every step."""
    taken = {name: shell[name] for name in settings.shell if name in shell}
    folders = {"lab": str(lab), "build": str(build), "environment": str(environment or build)}
    quoted = {name: path.replace("%", "%25").replace("?", "%3F") for name, path in folders.items()}
    own = {name: value.format(**(quoted if "://" in value else folders))
           for name, value in settings.variables.items()}
    data = {"LAB_DATA": str(environment.parents[1] / "data")} if environment else {}
    return {"PATH": _path(lab, environment, shell), "USER": shell.get("USER", ""), **data, **taken,
            **own}


def python_path(lab: Path) -> str:
    """Return the PYTHONPATH for the code and the library of a lab, or of a clone of it."""
    return os.pathsep.join([str(lab / "lab"), str(lab / LIBRARY.parent)])


def _path(lab: Path, environment: Path | None, shell: Mapping[str, str]) -> str:
    """Return PATH with the environment first and without the lab's own `.venv`."""
    entries = shell.get("PATH", os.defpath).split(os.pathsep)
    kept = [entry for entry in entries if not Path(entry).is_relative_to(lab / ".venv")]
    return os.pathsep.join([str(environment / "bin"), *kept] if environment else kept)
