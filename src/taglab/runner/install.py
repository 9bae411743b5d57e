"""Installs packages into an environment: with uv, or with pip where uv cannot be had.

Both get the same list and the user's pip settings, so both install the same packages.
"""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taglab.disk import says_full
from taglab.errors import LabError
from taglab.runner.pip_settings import read_pip_settings
from taglab.runner.requirements import (
    LOCK, UNLOCK, hash_without_lock, read_requirements)

Report = Callable[[str], None]
TOOLS = Path(__file__).with_name("installer")  # holds the requirements.txt of pip and uv
_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX",
           "PIP_REQUIRE_VIRTUALENV")
_COMPILE = ("--quiet", "--no-header", "--no-annotate")  # prints the pins and nothing else
_UV_KEPT = ("UV_CACHE_DIR", "UV_LINK_MODE", "UV_OFFLINE", "UV_NO_CACHE", "UV_CONCURRENT", "UV_HTTP")
_LOCK_HEADING = "# Written by `lab lock` for Linux and the requirements.txt {}. Not to be edited.\n"
_UNREACHABLE = re.compile(r"failed to fetch|error sending request|dns error|could not connect",
                          re.IGNORECASE)


def make_installer(folder: Path, lock: int, report: Report) -> None:
    """Make the environment `folder` that holds pip and, where the package index has it, uv."""
    tools = (TOOLS / "requirements.txt").as_posix()
    options = ["install", "--quiet", "--requirement", tools]
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    # The pip of this Python, where it has one, spares the seconds that a venv with pip takes.
    if _run([sys.executable, "-m", "pip", "--python", python, *options], folder, lock).returncode:
        venv.create(folder, with_pip=True)
        done = _run([python, "-m", "pip", *options], folder, lock)
        if done.returncode:
            report(f"uv cannot be had, so pip does its work, slower: {_reason(done.stdout)}")


def install(folder: Path, requirements: Path, installer: Path, lock: int, report: Report) -> None:
    """Install what a requirements file lists, and pip, into the new environment `folder`.

    Where a lock lies beside the file, it is what is installed, and other hashes are refused. The
    tools of the environment `installer` do it. They keep the file descriptor `lock` open, so what
    it locks stays locked while one of them lives. Raises LabError.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join([*read_requirements(requirements), *_pip_pin(requirements)]) + "\n")
        file.flush()
        options = ["--requirement", file.name]
        locked = requirements.with_name(LOCK)
        if locked.exists() and sys.platform == "linux":
            requirements, options = locked, ["--require-hashes", "--requirement", str(locked)]
        elif locked.exists():
            report(f"{LOCK} is for Linux: no hash of a package is checked here")
        call = uv_call(installer, ["install", *options], folder, report)
        if call is None:
            _pip_install(folder, installer, options, requirements, lock, report)
            return
        command, variables = call
        if requirements == locked:  # it has heeded the user's constraints, and uv takes none here
            command = [word for word in command if not word.startswith("--constraint=")]
        _uv_install(command, variables, requirements, lock, report)


def _pip_pin(requirements: Path) -> list[str]:
    """Return the pin of the pip that an environment gets, unless the file names its own."""
    if any(re.match(r"pip\b", line) for line in read_requirements(requirements)):
        return []
    return [line for line in read_requirements(TOOLS / "requirements.txt")
            if line.startswith("pip==")]


def lock_text(requirements: Path, installer: Path, report: Report) -> str:
    """Return the text of the lock: each package, indirect ones and pip too, with its hashes.

    Raises LabError where there is no uv, no such version, or a package without a hash.
    """
    platform = [] if sys.platform == "linux" else ["--python-platform=linux"]
    call = uv_call(installer, ["compile", "-", "--generate-hashes", *_COMPILE, *platform],
                   installer, report)
    if not call:
        raise LabError(f"only uv writes {LOCK}, and it cannot be had here. {UNLOCK}")
    done = _compile(call, requirements, _pip_pin(requirements))
    if done.returncode:
        raise LabError(f"{LOCK} could not be written:\n{done.stderr.strip()}")
    for line in done.stdout.splitlines():
        if not line.startswith(" ") and not line.endswith("\\"):
            raise LabError(f"{line} in requirements.txt has no hash, since it is no file of a "
                           f"package index. {UNLOCK}")
    return _LOCK_HEADING.format(hash_without_lock(requirements.parent)) + done.stdout


def resolve(
    requirements: Path, names: Sequence[str], environment: Path, installer: Path, report: Report
) -> list[str]:
    """Return the pins, `NAME==VERSION`, that `names` add to a requirements file, by name.

    The newest versions that go with what the file pins already. `environment` has the packages of
    the file. Raises LabError where there is no such version.
    """
    call = uv_call(installer, ["compile", "-", *_COMPILE], environment, report)
    if call:
        done = _compile(call, requirements, names)
        pins = [line for line in done.stdout.splitlines() if "==" in line]
    else:
        python = ["--python", str(environment / "bin" / "python")]
        done = subprocess.run(
            [installer / "bin" / "python", "-m", "pip", *python, "install", "--dry-run", "--quiet",
             "--quiet", "--no-input", "--report", "-", "--requirement", requirements, *names],
            cwd=requirements.parent, env=_variables(), text=True, capture_output=True)
        found = json.loads(done.stdout)["install"] if done.returncode == 0 else []
        pins = [f"{package['metadata']['name']}=={package['metadata']['version']}"
                for package in found]
    if done.returncode:
        raise LabError(f"there is no version of {' '.join(names)} that fits requirements.txt:\n"
                       f"{done.stderr.strip()}")
    known = {_project(line) for line in read_requirements(requirements)}
    return sorted(pin for pin in pins if _project(pin) not in known)


def _compile(call: tuple[list[str], dict[str, str]], requirements: Path, more: Sequence[str]
             ) -> subprocess.CompletedProcess[str]:
    """Run `uv pip compile -` on a requirements file and more requirements."""
    return subprocess.run(call[0], cwd=requirements.parent, env=call[1], text=True,
                          input="\n".join([f"--requirement {requirements}", *more]),
                          capture_output=True)


def _project(requirement: str) -> str:
    """Return the name of a requirement's package, as the package index compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def uv_call(
    installer: Path, arguments: Sequence[str], environment: Path, report: Report
) -> tuple[list[str], dict[str, str]] | None:
    """Return the command `uv pip ARGUMENTS` for an environment, and its variables.

    None where there is no uv, or pip has settings for which uv has nothing.
    """
    if not (installer / "bin" / "uv").exists():
        return None
    listed = subprocess.run([installer / "bin" / "python", "-m", "pip", "config", "list"],
                            capture_output=True, text=True, env=_variables())
    settings = read_pip_settings(listed.stdout)
    if settings.unknown:
        report(f"pip installs, since uv has nothing like pip's {', '.join(settings.unknown)}")
        return None
    variables = {name: value for name, value in _variables().items()
                 if not name.startswith("UV_") or name.startswith(_UV_KEPT)}
    command = [str(installer / "bin" / "uv"), "pip", *arguments, *settings.options,
               "--python", str(environment / "bin" / "python"),
               # As pip: the best version of all indexes, copies of folders, no settings of uv.
               "--index-strategy=unsafe-best-match", "--no-config", "--no-progress",
               "--color=never"]
    return command, {**variables, **settings.variables, **_cache(variables, environment.parent)}


def _cache(variables: Mapping[str, str], environments: Path) -> dict[str, str]:
    """Return the variable that names a cache beside `environments`, if uv's cannot be written."""
    default = Path(variables.get("XDG_CACHE_HOME") or Path.home() / ".cache", "uv")
    cache = Path(variables.get("UV_CACHE_DIR") or default)
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    is_writable = existing.is_dir() and os.access(existing, os.W_OK)
    return {} if is_writable else {"UV_CACHE_DIR": str(environments.with_name("uv"))}


def _uv_install(command: list[str], variables: Mapping[str, str], requirements: Path, lock: int,
                report: Report) -> None:
    done = _run(command, requirements.parent, lock, variables)
    if done.returncode and _UNREACHABLE.search(done.stdout):
        if _run([*command, "--offline"], requirements.parent, lock, variables).returncode == 0:
            report("the package index is away: the packages come from uv's cache")
            return
    if done.returncode:
        raise failed("uv", requirements.name, done.stdout.strip().splitlines())


def _pip_install(folder: Path, installer: Path, options: Sequence[str], requirements: Path,
                 lock: int, report: Report) -> None:
    report("installing with pip, which takes minutes")
    done = _run([str(installer / "bin" / "python"), "-m", "pip", "--python",
                 str(folder / "bin" / "python"), "install", "--progress-bar=off",
                 "--no-input", *options], requirements.parent, lock)
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        first = next((n for n, line in enumerate(lines) if line.startswith("ERROR:")), -5)
        raise failed("pip", requirements.name, lines[first:])


def failed(tool: str, requirements: str, errors: Sequence[str]) -> LabError:
    """Return the failure of an installation for what the tool printed."""
    text = "\n".join(errors[:12]) or "no reason given"
    if says_full(text):
        return disk_full(text)
    advice = "Correct requirements.txt and commit it, or check the network; then try again"
    if requirements == LOCK and "hash" in text.lower():
        advice = (f"Nothing is installed whose hash {LOCK} lacks. If what the package index has "
                  "now is right, type: lab lock")
    return LabError(f"{tool} could not install {requirements}:\n{text}\n{advice}")


def disk_full(reason: str) -> LabError:
    """Return the failure of an environment for which there is no space."""
    return LabError("the disk is full, so the environment could not be made: "
                    f"{reason}\nMake space (lab envs --prune), then try again")


def no_venv(error: Exception) -> LabError:
    """Return the failure of a Python that cannot make environments."""
    return LabError(f"python3 -m venv failed: {error}. On Debian and Ubuntu, type: "
                    "sudo apt install python3-venv")


def _run(command: Sequence[str], folder: Path, lock: int,
         variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run an installer to its end, with its output and errors in `stdout`."""
    return subprocess.run(command, cwd=folder, env=_variables() if variables is None else variables,
                          text=True, errors="replace", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[lock])


def _variables() -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in _HIDDEN},
            "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _reason(output: str) -> str:
    """Return the first error in what pip printed."""
    lines = [line for line in output.splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if line.startswith("ERROR:")), lines[-1])
