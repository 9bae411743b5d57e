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
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import taglab
from taglab.ci import read_build
from taglab.hashes import edited_files

LARGE = 1_000_000  # bytes; a larger file that git does not know is named in the patch, not held


def run_tags(
    lab: Path, process: str, config: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the tags that every run of a process carries; a fact that is not known is absent."""
    tags = {"process": process, "config_hash": config_hash(config),
            "python": platform.python_version()}
    tags |= git_tags(lab) | library_tags()
    build = read_build(environment)
    known = {"commit": build.commit, "tag": build.tag, "build": build.number,
             "build_link": build.link, "job": environment.get("JOB_NAME", "")}  # a wide job's
    tags |= {tag: value for tag, value in known.items() if value}
    if "seed" in config:
        tags["seed"] = str(config["seed"])
    return tags


def library_tags(package: Path = Path(taglab.__file__).parent) -> dict[str, str]:
    """Return which release of this library runs, and the files that were edited in the copy."""
    tags = {"taglab": taglab.__version__}
    if edited := edited_files(package):
        tags["taglab_edited"] = ", ".join(edited)[:1000]
    return tags


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 12 hex digits that are the same for the same parameters, in whatever order."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprint(train: Callable[..., Any]) -> str:
    """Return what tells a function from others: its name, its source and the data it holds."""
    function = getattr(train, "func", train)
    held = [getattr(train, "args", ()), getattr(train, "keywords", {})]
    source = ""
    with contextlib.suppress(OSError, TypeError):
        source = inspect.getsource(function)
        held.append(inspect.getclosurevars(function).nonlocals)
    try:
        data = pickle.dumps(held)
    except Exception:  # it holds what has no fixed form, such as another function
        data = repr(held)
    return digest(getattr(function, "__qualname__", type(function)), source, data)


def digest(*known: Any) -> str:
    """Return 16 hex digits for texts and other things, wherever these are in memory."""
    return hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(known)).encode()).hexdigest()[:16]


def git_tags(folder: Path) -> dict[str, str]:
    """Return the commit, and whether the files differ from it; {} without git or a repository."""
    status = _git(folder, "status", "--porcelain", "--", ".")
    if status is None:
        return {}
    tags = {"dirty": "true" if status else "false"}
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    return tags | {"commit": commit.decode().strip()} if commit else tags


def uncommitted_patch(folder: Path) -> bytes:
    """Return the difference between the last commit and the files, new files included.

    `git apply` on a clean clone of the commit brings the files back.
    """
    base = "HEAD" if _git(folder, "rev-parse", "--verify", "--quiet", "HEAD") else (
        _git(folder, "hash-object", "-t", "tree", os.devnull) or b"").decode().strip()
    index = _git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index") or b""
    names = _git(folder, "ls-files", "--others", "--exclude-standard", "-z") or b""
    new = [os.fsdecode(name) for name in names.split(b"\0") if name]
    large = [name for name in new if os.lstat(folder / name).st_size > LARGE]
    with tempfile.TemporaryDirectory() as scratch:
        # A copy: the index of the user, and what is staged in it, stays as it is.
        environment = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        if os.path.exists(index.strip()):
            shutil.copyfile(os.fsdecode(index.strip()), environment["GIT_INDEX_FILE"])
        if small := [name for name in new if name not in large]:
            _git(folder, "add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul",
                 environment=environment, text=b"\0".join(map(os.fsencode, small)))
        patch = _git(folder, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv",
                     "--src-prefix=a/", "--dst-prefix=b/", base, "--", ".",
                     environment=environment) or b""
    notes = (f"# not in this patch, larger than {LARGE} bytes: {name}\n" for name in large)
    return "".join(notes).encode(errors="surrogateescape") + patch


def versions() -> str:
    """Return the installed distributions, one `name==version` a line."""
    facts = (each.metadata for each in importlib.metadata.distributions())
    found = {f"{each['Name']}=={each['Version']}" for each in facts}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def pinned(*names: str) -> list[str]:
    """Return `name==version` of installed distributions: what a logged model needs.

    Without it MLflow loads the model in another process to find out, which takes seconds.
    """
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _git(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, text: bytes = b""
) -> bytes | None:
    """Return what a git command prints, or None when it fails or there is no git."""
    # A git hook sets GIT_DIR and GIT_INDEX_FILE: they name its repository, not this one.
    inherited = {name: value for name, value in os.environ.items()
                 if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")}
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), "--literal-pathspecs", *arguments],
            input=text, capture_output=True, check=True,
            env={**inherited, **(environment or {})},
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
