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
from taglab.cluster.manifest import JOB_NAME
from taglab.hashes import edited_files

LARGE = 1_000_000  # bytes; a larger untracked file is named in the patch, but not part of it


def run_tags(
    lab: Path, process: str, config: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the tags that every run of a process carries; what is not known is left out."""
    tags = {"process": process, "config_hash": config_hash(config),
            "python": platform.python_version()}
    tags |= git_tags(lab) | library_tags()
    build = read_build(environment)
    known = {"commit": build.commit, "tag": build.tag, "build": build.number,
             "build_link": build.link, "job": environment.get(JOB_NAME, "")}
    tags |= {tag: value for tag, value in known.items() if value}
    if "seed" in config:
        tags["seed"] = str(config["seed"])
    return tags


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
    """Return the commit and whether files differ from it; {} without git or a repository."""
    status = _git(folder, "status", "--porcelain", "--", ".")
    if status is None:
        return {}
    tags = {"dirty": "true" if status else "false"}
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    return tags | {"commit": commit.decode().strip()} if commit else tags


def uncommitted_patch(folder: Path) -> bytes:
    """Return the difference between the last commit and the files, untracked ones included.

    `git apply` on a clean clone of the commit restores the files.
    """
    base = "HEAD"
    if not _git(folder, "rev-parse", "--verify", "--quiet", base):  # no commit yet: an empty tree
        base = (_git(folder, "hash-object", "-t", "tree", os.devnull) or b"").decode().strip()
    index = _git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index") or b""
    names = _git(folder, "ls-files", "--others", "--exclude-standard", "-z") or b""
    new = [os.fsdecode(name) for name in names.split(b"\0") if name]
    large = [name for name in new if os.lstat(folder / name).st_size > LARGE]
    with tempfile.TemporaryDirectory() as scratch:
        # In a copy of the index, so that what the user has staged stays as it is.
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
    metadata = (each.metadata for each in importlib.metadata.distributions())
    found = {f"{each['Name']}=={each['Version']}" for each in metadata}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def pinned(*names: str) -> list[str]:
    """Return `name==version` of installed distributions, as the requirements of a logged model.

    Without them MLflow loads the model in another process to find out, which takes seconds.
    Raises importlib.metadata.PackageNotFoundError for what is not installed.
    """
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _git(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, text: bytes = b""
) -> bytes | None:
    """Return what a git command prints, or None when it fails or git is missing."""
    # In a git hook these variables name the hook's repository, not this one.
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
