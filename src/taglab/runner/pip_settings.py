"""The settings of the user's pip, as options for uv: it reads none of them itself."""
from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

_OPTIONS = {  # pip's name, and uv's option
    "constraint": "--constraint", "no-binary": "--no-binary", "only-binary": "--only-binary",
    "trusted-host": "--allow-insecure-host"}
# Addresses, which may hold a password, go by variables: other users see a command line.
_ADDRESSES = {  # pip's name, uv's variable, and what separates the words in it
    "index-url": ("UV_DEFAULT_INDEX", " "), "extra-index-url": ("UV_EXTRA_INDEX_URL", " "),
    "find-links": ("UV_FIND_LINKS", ",")}
_FLAGS = {  # options without a value
    "no-index": "--no-index", "pre": "--prerelease=allow",
    "no-deps": "--no-deps", "no-build-isolation": "--no-build-isolation"}
_VARIABLES = {  # what uv takes from the environment
    "cert": ("SSL_CERT_FILE",), "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "retries": ("UV_HTTP_RETRIES",),
    "timeout": ("UV_HTTP_TIMEOUT",), "default-timeout": ("UV_HTTP_TIMEOUT",),
    "require-hashes": ("UV_REQUIRE_HASHES",)}  # no option: it may be given once, and not always
# What changes how pip talks, caches or where it installs, and not which packages it takes.
_WITHOUT_EFFECT = {
    "break-system-packages", "cache-dir", "compile", "config-file", "debug",
    "disable-pip-version-check", "exists-action", "format", "log", "no-cache-dir", "no-color",
    "no-compile", "no-input", "no-python-version-warning", "no-warn-script-location", "prefix",
    "progress-bar", "quiet", "require-virtualenv", "resume-retries", "root-user-action", "src",
    "target", "user", "verbose", "yes"}
_FALSE = ("0", "false", "no", "off", "f", "n")  # pip's words


@dataclass(frozen=True)
class UvSettings:
    """What uv is given: options, and variables of its environment.

    unknown: the settings of pip for which uv has nothing.
    """

    options: tuple[str, ...]
    variables: Mapping[str, str]
    unknown: tuple[str, ...]


def read_pip_settings(listed: str) -> UvSettings:
    """Return the settings that `pip config list` printed, for uv.

    Its lines are `SECTION.NAME='VALUE'`; for `pip install`, `install` wins over `global`, and the
    variables (`:env:`) over both.
    """
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name.lower().replace("_", "-")] = str(ast.literal_eval(value))
    settings = {**found["global"], **found["install"], **found[":env:"]}
    options = [f"{_OPTIONS[name]}={word}" for name, value in settings.items() if name in _OPTIONS
               for word in (value.replace(",", " ") if "binary" in name else value).split()]
    options += [_FLAGS[name] for name, value in settings.items()
                if name in _FLAGS and value.lower() not in _FALSE]
    variables = {variable: value for name, value in settings.items()
                 for variable in _VARIABLES.get(name, ())}
    variables |= {variable: separator.join(settings[name].split())
                  for name, (variable, separator) in _ADDRESSES.items() if name in settings}
    known = {*_OPTIONS, *_ADDRESSES, *_FLAGS, *_VARIABLES, *_WITHOUT_EFFECT}
    return UvSettings(tuple(options), variables, tuple(sorted(settings.keys() - known)))
