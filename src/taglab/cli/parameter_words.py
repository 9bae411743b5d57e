"""The words `key=value` of `lab launch`, typed by the config.toml of the processes they change."""
from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import product
from typing import Any

from taglab.config import ConfigError, default_of, flatten, parse_value
from taglab.engines.drone.conditions import Event
from taglab.engines.drone.decide import triggered_pipelines
from taglab.engines.drone.outcome import plan
from taglab.engines.drone.source import processes_in
from taglab.errors import LabError
from taglab.tag_parameters import Parameter, to_toml

Configs = Mapping[str, dict[str, Any]]  # what each config.toml holds, by process


def processes_of(text: str, event: Event) -> list[str]:
    """Return the processes whose main.py runs when the event meets `text`, a `.drone.yml`."""
    found = [process for pipeline in triggered_pipelines(text, event)
             for planned in plan(pipeline, event) if planned.step is not None
             for process in processes_in("\n".join(planned.step.commands))]
    return list(dict.fromkeys(found))


def combinations(configs: Configs, words: list[str], sweeps: list[str]
                 ) -> list[tuple[Parameter, ...]]:
    """Return the parameters of each tag to launch: all combinations of the sweeps' values.

    words: `key=value`. sweeps: `key=value,value,…`. A key is one of the processes in `configs`, as
    `key` where no other of them has it, or as `process.key`. Raises LabError.
    """
    axes = [[_parameter(configs, word)] for word in words]
    axes += [_values(configs, sweep) for sweep in sweeps]
    names = [f"{axis[0].process}.{axis[0].key}" for axis in axes]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise LabError(f"{twice} is given twice; give it once")
    return list(product(*axes))


def _parameter(configs: Configs, word: str) -> Parameter:
    process, key, text = _split(configs, word)
    return _typed(configs, process, key, text)


def _values(configs: Configs, sweep: str) -> list[Parameter]:
    """Return the values of a sweep, each once: text between commas; of other lists, TOML."""
    process, key, text = _split(configs, sweep)
    default = default_of(configs[process], key)
    parts = [part if isinstance(default, str) else part.strip() for part in text.split(",")]
    if not isinstance(default, (str, bool, int, float)):
        try:
            parts = list(map(to_toml, tomllib.loads(f"values = [{text}]")["values"]))
        except (ValueError, RecursionError):
            raise LabError(f"--sweep {key} needs TOML values with commas between them, such as "
                           f"{to_toml(default)},{to_toml(default)}; got {text!r}") from None
    if not parts:
        raise LabError(f"--sweep {key} has no values")
    return list(dict.fromkeys(_typed(configs, process, key, part) for part in parts))


def _typed(configs: Configs, process: str, key: str, text: str) -> Parameter:
    try:
        value = parse_value(key, text, default_of(configs[process], key))
    except ConfigError as error:
        raise LabError(str(error)) from None
    return Parameter(process, key, to_toml(value))


def _split(configs: Configs, word: str) -> tuple[str, str, str]:
    """Return process, key and text of a word. Raises LabError if they are not known for certain."""
    name, equals, text = word.partition("=")
    if not equals:
        raise LabError(f"{word!r} is not of the form key=value")
    try:
        word.encode()
    except UnicodeEncodeError:
        raise LabError(f"{word!r} is not UTF-8") from None
    first, _, rest = name.partition(".")
    process = first.replace("-", "_")
    if rest in flatten(configs.get(process, {})):
        return process, rest, text
    having = [each for each, config in configs.items() if name in flatten(config)]
    if len(having) == 1:
        return having[0], name, text
    if having:
        raise LabError(f"{name} is a parameter of {' and '.join(having)}. Say whose: "
                       + " or ".join(f"{each}.{word}" for each in having))
    raise LabError(_unknown(configs, name))


def _unknown(configs: Configs, name: str) -> str:
    """Return what to say of a key that no process has; a table's keys are named."""
    if len(configs) == 1:
        [(process, config)] = configs.items()
        try:
            default_of(config, name.removeprefix(f"{process}."))
        except ConfigError as error:
            return f"{process}: {error}"
    known = [key for process, config in configs.items()
             for bare in flatten(config) for key in (bare, f"{process}.{bare}")]
    near = get_close_matches(name, known, n=1)
    return (f"unknown key {name!r}{f'; did you mean {near[0]}?' if near else '.'} "
            f"This tag runs: {', '.join(configs)}")
