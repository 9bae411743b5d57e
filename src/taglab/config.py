"""The parameters of a process: `config.toml` beside its `main.py`, changed by `key=value` words.

    python lab/processes/svm_search/main.py folds=5 'gamma=[0.001, 0.01]' model.depth=3
"""

import difflib
import sys
import tomllib
from pathlib import Path
from typing import Any

WRONG_USAGE = 3


class ConfigError(ValueError):
    """A parameter that cannot be used; the message says which, why and what is known."""


def load_config(main_file: str | Path, words: list[str] | None = None) -> dict[str, Any]:
    """Return the parameters for `main_file`; a mistake ends the process with status 3.

    `words` are the `key=value` words, by default those of the command line.
    """
    path = Path(main_file).resolve().with_name("config.toml")
    words = sys.argv[1:] if words is None else words
    try:
        defaults = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        print(f"error: cannot read {path}: {error}", file=sys.stderr)
        raise SystemExit(WRONG_USAGE) from None
    if {"-h", "--help"} & set(words):
        print(f"usage: python {main_file} [key=value …]\n{describe(defaults)}")
        raise SystemExit(0)
    try:
        return override(defaults, words)
    except ConfigError as error:
        print(f"error: {error}\n{describe(defaults)}", file=sys.stderr)
        raise SystemExit(WRONG_USAGE) from None


def override(defaults: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Return a copy of `defaults` with each `key=value` of `words` put in; the last one wins."""
    changes = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not of the form key=value")
        changes[key] = parse_value(key, text, _default(defaults, key))
    return _replaced(defaults, changes)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the parameters as one flat table: {"model": {"depth": 3}} is {"model.depth": 3}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def describe(defaults: dict[str, Any]) -> str:
    """Return the list of known keys with their types and defaults."""
    flat = flatten(defaults)
    width = max(map(len, flat), default=0)
    lines = [f"  {key:<{width}}  {_kind(value):<14}  {value!r}" for key, value in flat.items()]
    return "\n".join(["known keys:", *lines]) if lines else "this process has no parameters"


def parse_value(key: str, text: str, default: Any) -> Any:
    """Return `text` as a value of the type of `default`."""
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
        if isinstance(default, list):
            return _checked_list(value, default)
        if type(value) is type(default):
            return value
    except (ValueError, KeyError, OverflowError, RecursionError):
        pass
    raise ConfigError(f"{key} needs a value of type {_kind(default)}, got {text!r}")


def _checked_list(value: Any, default: list[Any]) -> list[Any]:
    """Return `value` if it is a list whose elements are of the type of those in `default`."""
    if not isinstance(value, list):
        raise ValueError("not a list")
    kinds = {type(element) for element in default}
    if len(kinds) != 1:
        return value
    kind = kinds.pop()
    if kind is float:
        value = [float(element) if type(element) is int else element for element in value]
    if any(type(element) is not kind for element in value):
        raise ValueError("an element of another type")
    return value


def _default(defaults: dict[str, Any], key: str) -> Any:
    """Return the default of `key`, or say which keys come near."""
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
    """Return a copy of `table` with the values that `changes` names by their dotted keys."""
    return {
        key: _replaced(value, changes, f"{prefix}{key}.") if isinstance(value, dict)
        else changes.get(prefix + key, value)
        for key, value in table.items()
    }


def _kind(value: Any) -> str:
    """Return the name of a value's type as a reader of TOML knows it."""
    if isinstance(value, list):
        kinds = {type(element).__name__ for element in value}
        return f"list of {kinds.pop()}" if len(kinds) == 1 else "list"
    return type(value).__name__
