"""What is known about a run before it starts: commit, build, configuration, versions."""

import contextlib
import hashlib
import importlib.metadata
import inspect
import json
import os
import pickle
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import taglab
from taglab.ci import read_build
from taglab.cluster.manifest import JOB_NAME
from taglab.config import ConfigError, flatten, parse_value
from taglab.git import run_git
from taglab.hashes import edited_files
from taglab.tag_parameters import message_of_build, to_toml

LONGEST_TAG = 5000  # characters; MLflow's servers differ in what they accept

_NAME, _VERSION = (re.compile(rf"^{field}: *(\S+)", re.MULTILINE) for field in ("Name", "Version"))


def run_tags(
    lab: Path, process: str, config: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the tags that every run of a process carries; what is not known is left out."""
    tags = {"process": process, "config_hash": config_hash(config),
            "python": platform.python_version()}
    tags |= git_tags(lab) | library_tags()
    build = read_build(environment)
    known = {"commit": _commit(build.commit, tags.get("commit"), lab), "tag": build.tag,
             "build": build.number, "build_link": build.link, "job": environment.get(JOB_NAME, "")}
    tags |= {tag: value for tag, value in known.items() if value}
    if "seed" in config:
        tags["seed"] = str(config["seed"])
    return tags


def _commit(named: str, checked_out: str | None, lab: Path) -> str:
    """Return the commit of a build; some servers name an annotated tag by its own object instead.
    """
    if not named or named == checked_out or checked_out is None:
        return named
    found = run_git("rev-parse", "--verify", "--quiet", f"{named}^{{commit}}", cwd=lab).stdout
    return found.decode().strip() or named


def parameter_tags(
    lab: Path, process: str, config: Mapping[str, Any], words: Sequence[str],
    environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the parameters that are not from config.toml, in a tag for each place they are from.

    words: those of the process's command line, which win over the build's tag. What `config` does
    not hold is left out. Raises TagError.
    """
    flat = flatten(config)
    typed = {key for key, equals, text in (word.partition("=") for word in words)
             if equals and key in flat and _is_value(key, text, flat[key])}
    given = {each.key for each in message_of_build(lab, environment).parameters
             if each.process == process and each.value == flat.get(each.key)}
    origins = {"parameters_from_tag": given - typed, "parameters_from_command_line": typed}
    return {tag: " ".join(f"{key}={to_toml(value)}" for key, value in flat.items() if key in keys)
            [:LONGEST_TAG] for tag, keys in origins.items() if keys}


def _is_value(key: str, text: str, value: Any) -> bool:
    try:
        return bool(parse_value(key, text, value) == value)
    except ConfigError:
        return False


def library_tags(package: Path = Path(taglab.__file__).parent) -> dict[str, str]:
    """Return the version of this library, and which files of the copy were edited."""
    tags = {"taglab": taglab.__version__}
    if edited := edited_files(package):
        tags["taglab_edited"] = ", ".join(edited)[:1000]
    return tags


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 12 hex digits that are the same for the same parameters in any order."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprint(train: Callable[..., Any]) -> str:
    """Return a digest of what a function is: its name, its source and the data bound to it."""
    function = getattr(train, "func", train)
    held = [getattr(train, "args", ()), getattr(train, "keywords", {})]
    source = ""
    with contextlib.suppress(OSError, TypeError):
        source = inspect.getsource(function)
        held.append(inspect.getclosurevars(function).nonlocals)
    try:
        data: bytes | str = pickle.dumps(held)
    except Exception:  # something that cannot be pickled, such as a lambda
        data = repr(held)
    return digest(getattr(function, "__qualname__", type(function)), source, data)


def digest(*known: Any) -> str:
    """Return 16 hex digits for values by their repr, without addresses in memory."""
    return hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(known)).encode()).hexdigest()[:16]


def git_tags(folder: Path) -> dict[str, str]:
    """Return the commit and whether files differ from it; {} without git or a repository.

    Where git refuses for another reason, such as a folder of another owner, prints what it says.
    """
    try:
        done = run_git("status", "--porcelain", "--", ".", cwd=folder)
    except FileNotFoundError:  # git is not installed
        return {}
    problem = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        if not problem.startswith("fatal: not a git repository (or any"):
            print(f"warning: this run does not tell its commit and changes. git says: {problem}",
                  file=sys.stderr)
        return {}
    tags = {"dirty": "true" if done.stdout else "false"}
    commit = run_git("rev-parse", "--verify", "--quiet", "HEAD", cwd=folder).stdout
    return tags | {"commit": commit.decode().strip()} if commit else tags


def versions() -> str:
    """Return the installed distributions, one `name==version` a line."""
    # The metadata as text: to parse all of it takes as long as the rest of a run.
    metadata = (each.read_text("METADATA") or each.read_text("PKG-INFO") or ""
                for each in importlib.metadata.distributions())
    found = {f"{name[1]}=={version[1]}" for each in metadata
             if (name := _NAME.search(each)) and (version := _VERSION.search(each))}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def pinned(*names: str) -> list[str]:
    """Return `name==version` of installed distributions, as the requirements of a logged model.

    Without them MLflow loads the model in another process to find out, which takes seconds.
    Raises importlib.metadata.PackageNotFoundError for what is not installed.
    """
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]
