"""The parameters of a process: `config.toml` beside its `main.py`, overridden by `key=value` words.

    python lab/processes/svm_search/main.py folds=5 'gamma=[0.001, 0.01]' model.depth=3

In a build, the parameters of its tag come between the two: see `taglab.tag_parameters`.
"""

import difflib
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taglab.names import refusal
from taglab.tag_parameters import TagError, message_of_build

WRONG_USAGE = 3  # an exit status; not 2, which a cluster takes for a crash of its own


class ConfigError(ValueError):
    """A parameter that cannot be used; the message says which, why, and what is allowed."""


def load_config(main_file: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Return the parameters of the process whose folder holds `main_file`.

    `overrides` are `key=value` words, by default those of the command line; `--help` lists the
    keys. They win over the parameters of a build's tag. A mistake is printed and exits with
    status 3, as does a tag whose parameters are lost.
    """
    path = Path(main_file).resolve().with_name("config.toml")
    overrides = sys.argv[1:] if overrides is None else overrides
    try:
        defaults = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        print(f"error: cannot read {path}: {error}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    if reason := next(filter(None, map(refusal, flatten(defaults))), ""):
        print(f"error: {path}: {reason}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    if {"-h", "--help"} & set(overrides):
        print(f"usage: python {main_file} [key=value …]\n{describe(defaults)}")
        raise SystemExit(0)
    try:
        return _replaced(defaults, _tag_values(path.parent, defaults) | _read(defaults, overrides))
    except (ConfigError, TagError) as error:
        print(f"error: {error}\n{describe(defaults)}", file=sys.stderr)
        sys.exit(WRONG_USAGE)


def override(defaults: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return a copy of `defaults` with each `key=value` of `overrides` applied; the last one wins.

    A value gets the type of its default; a dotted key names a value of a table. Raises ConfigError.
    """
    return _replaced(defaults, _read(defaults, overrides))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the parameters as one flat table: {"model": {"depth": 3}} as {"model.depth": 3}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def describe(defaults: dict[str, Any]) -> str:
    """Return a table of the known keys with their types and defaults, for the terminal."""
    flat = flatten(defaults)
    width = max(map(len, flat), default=0)
    lines = [f"  {key:<{width}}  {_kind(value):<14}  {value!r}" for key, value in flat.items()]
    return "\n".join(["known keys:", *lines]) if lines else "this process has no parameters"


def parse_value(key: str, text: str, default: Any) -> Any:
    """Return `text` as a value of the type of `default`. Raises ConfigError, which names `key`."""
    try:
        if isinstance(default, str):
            return text
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, (int, float)):
            return type(default)(text)
        value, *others = tomllib.loads(f"value = {text}").values()
        if others:
            raise ValueError("more than one value")
        return _checked(value, default)
    except (ValueError, KeyError, OverflowError, RecursionError):
        raise ConfigError(f"{key} needs a value of type {_kind(default)}, got {text!r}") from None


def _read(defaults: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Return the values of `key=value` words by their dotted keys. Raises ConfigError."""
    changes = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not of the form key=value")
        changes[key] = parse_value(key, text, default_of(defaults, key))
    return changes


def _tag_values(folder: Path, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the values that the build's tag gives to the process in `folder`, by dotted keys.

    Raises ConfigError and TagError.
    """
    values = {}
    for each in message_of_build(folder).parameters:
        if each.process == folder.name:
            default = default_of(defaults, each.key)
            try:
                values[each.key] = _checked(each.value, default)
            except ValueError:
                raise ConfigError(f"{each.key} needs a value of type {_kind(default)}, got "
                                  f"{each.text} from the tag") from None
    return values


def _checked(value: Any, default: Any) -> Any:
    """Return `value` if it has the type of `default`. Raises ValueError."""
    if isinstance(default, list):
        return _checked_list(value, default)
    if type(value) is not type(default):
        raise ValueError("another type")
    return value


def _checked_list(value: Any, default: list[Any]) -> list[Any]:
    """Return `value` if it is a list whose elements have the type of those in `default`."""
    if not isinstance(value, list):
        raise ValueError("not a list")
    items: list[Any] = value
    kinds = {type(element) for element in default}
    if len(kinds) != 1:
        return items
    kind = kinds.pop()
    if kind is float:
        items = [float(element) if type(element) is int else element for element in items]
    if any(type(element) is not kind for element in items):
        raise ValueError("an element of another type")
    return items


def default_of(defaults: dict[str, Any], key: str) -> Any:
    """Return the default of `key`. Raises ConfigError, which suggests the nearest known key."""
    flat = flatten(defaults)
    if key in flat:
        return flat[key]
    members = [known for known in flat if known.startswith(f"{key}.")]
    if members:
        raise ConfigError(f"{key} is a table; set one of its keys: {', '.join(members)}")
    near = difflib.get_close_matches(key, flat, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"unknown key {key!r}{hint}")


def _replaced(table: dict[str, Any], changes: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a copy of `table` with the values of `changes`, which has dotted keys."""
    return {
        key: _replaced(value, changes, f"{prefix}{key}.") if isinstance(value, dict)
        else changes.get(prefix + key, value)
        for key, value in table.items()
    }


def _kind(value: Any) -> str:
    """Return the name of a value's type, for a list with that of its elements."""
    if isinstance(value, list):
        kinds = {type(element).__name__ for element in value}
        return f"list of {kinds.pop()}" if len(kinds) == 1 else "list"
    return type(value).__name__
