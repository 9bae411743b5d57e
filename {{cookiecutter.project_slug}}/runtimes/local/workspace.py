"""A clean clone of one commit, and the variables that a step gets in it."""
from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

from local.git import git
from local.remote import REPOSITORY


def clone(lab: Path, commit: str, folder: Path, depth: int = 0) -> None:
    """Check `commit` out in the empty `folder`: a detached head, without any branch or tag.

    The objects are those of the local remote, so that the size of the history does not count;
    with a depth, the history is cut off after so many commits. Raises GitError.
    """
    bare = lab / REPOSITORY
    git("init", "--quiet", "--template=", "--initial-branch=main", ".", cwd=folder)
    git("remote", "add", "origin", f"file://{bare}", cwd=folder)
    if depth:
        git("fetch", "--quiet", f"--depth={depth}", "origin", commit, cwd=folder)
    else:
        alternates = folder / ".git" / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{bare}/objects\n", encoding="utf-8")
    # The user's own git settings must not change what a commit is.
    git("-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "checkout", "--quiet",
        "--detach", commit, cwd=folder)


def write_requirements(lab: Path, commit: str, folder: Path) -> bool:
    """Write the requirements files of `commit` into `folder`; False when it has none."""
    bare = lab / REPOSITORY
    names = git("ls-tree", "-r", "-z", "--name-only", commit, cwd=bare).split("\0")
    for name in names:
        if re.search(r"(requirements|constraints)[^/]*\.txt$", name):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(git("show", f"{commit}:{name}", cwd=bare), encoding="utf-8")
    return (folder / "requirements.txt").exists()


def reroot(variables: Mapping[str, str], there: str, here: str) -> dict[str, str]:
    """Replace the pipeline's workspace path by the workspace on this machine."""
    path = re.compile(r"(?<![\w./-])" + re.escape(there.rstrip("/")) + r"(?=$|[/:;,'\"\s])")
    return {name: path.sub(lambda _: here, value) for name, value in variables.items()}


def machine_variables(lab: Path, build: Path, environment: Path | None,
                      shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what `machine.toml` and the shell that pushed give to every step."""
    settings = _settings()
    taken = {name: shell[name] for name in settings["shell"]["names"] if name in shell}
    folders = {"lab": lab, "build": build, "environment": environment or build}
    own = {name: value.format(**folders) for name, value in settings["variables"].items()}
    return {"PATH": _path(lab, environment, shell), "USER": shell.get("USER", ""), **taken, **own}


def track(lab: Path, build: Path, environment: Path | None, verb: str,
          number: int) -> subprocess.CompletedProcess[str] | None:
    """Let the lab itself summarize or kill the MLflow runs of a build; None where it cannot."""
    if environment is None or not (lab / "lab/lib/tracking.py").exists():
        return None
    variables = {**os.environ, **machine_variables(lab, build, environment),
                 "PYTHONPATH": str(lab / "lab")}
    return subprocess.run([environment / "bin" / "python", "-m", "lib.tracking", verb, "--build",
                           str(number)], cwd=lab, env=variables, capture_output=True,
                          encoding="utf-8", errors="replace")


def timeout_seconds() -> float:
    """Return how long a pipeline may take on this machine."""
    return 60 * float(_settings()["limits"]["timeout_minutes"])


def _settings() -> dict:
    file = Path(__file__).with_name("machine.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _path(lab: Path, environment: Path | None, shell: Mapping[str, str]) -> str:
    """Return PATH with the environment first and without the lab's own `.venv`."""
    entries = shell.get("PATH", os.defpath).split(os.pathsep)
    kept = [entry for entry in entries if not Path(entry).is_relative_to(lab / ".venv")]
    return os.pathsep.join([str(environment / "bin"), *kept] if environment else kept)
