"""`lab migrate`: moves a lab from before 0.2, which held the machinery itself, to `vendor/taglab`.

All of it is decided from the committed files and shown as a diff before anything is written.
"""
from __future__ import annotations

import difflib
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import click

from taglab.cli.old_imports import (
    Names, defined_names, rewrite_notebook, rewrite_python, rewrite_text)
from taglab.cli.output import as_json_option, show_json
from taglab.errors import LabError
from taglab.hashes import edited_files
from taglab.lab import LIBRARY
from taglab.runner.git import git
from taglab.runner.remote import REPOSITORY, make_remote
from taglab.runner.settings import FILE as SETTINGS

_DELIVERED = Path(__file__).with_name("delivered_before_0_2.txt")
_OLD_RUNNER, _OLD_SETTINGS = "runtimes/local/", "runtimes/local/machine.toml"
_NEW_SETTINGS = "runner/machine.toml"  # the library's
_START = "sitecustomize.py"  # in the library, and beside it, where Python looks for it
_TEXTS = (".toml", ".yml", ".yaml", ".md", ".sh", ".cfg", ".ini", ".flake8", "Makefile",
          "Dockerfile")
# Files of the template whose old versions use the machinery: what they become where nobody changed
# them.
REPLACED = {
    "conftest.py": 'pytest_plugins = ["taglab.testing"]  # the fixture own_store\n',
    "goals/test_goals.py": '''\
import pytest

from taglab.goals import read_goals, verdicts


@pytest.mark.parametrize("goal", read_goals(), ids=str)
def test_the_newest_run_meets_the_goal(goal):
    [verdict] = verdicts([goal])
    if verdict.met is None:
        pytest.skip(verdict.reason)
    assert verdict.met, verdict.reason
'''}


@dataclass
class Migration:
    """What is done to a lab. Paths are relative to it, with slashes."""

    changed: dict[str, tuple[str, str]] = field(default_factory=dict)  # old text and new one
    removed: list[str] = field(default_factory=list)
    renews_hook: bool = False
    left: list[str] = field(default_factory=list)  # to a person

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.renews_hook)


@dataclass(frozen=True)
class Migrated:
    """What `lab migrate --json` prints; where nothing is done yet, the paths that would be."""

    done: bool
    changed: list[str]
    removed: list[str]
    left: list[str]


@click.command("migrate")
@as_json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def migrate(lab: Path, as_json: bool, yes: bool) -> None:
    """Move a lab from before 0.2 to vendor/taglab."""
    found = plan(lab)
    if as_json:  # a program is not asked
        if yes and found:
            carry_out(lab, found)
        show_json(Migrated(yes and bool(found), [*found.changed], found.removed, found.left))
        return
    click.echo(described(found))
    if not found:
        return
    if not yes and not sys.stdin.isatty():
        click.echo("Nothing was changed. To do this, type: python3 vendor/taglab migrate --yes")
    elif yes or click.confirm("Do this?"):
        carry_out(lab, found)
        added = "".join(f" {path}" for path, (old, _) in found.changed.items() if not old)
        undo = f" && rm{added}" if added else ""
        click.echo("Done. To undo it, type: git checkout ." + undo + "\nTo keep it, type: "
                   "python3 vendor/taglab init && git add -A && git commit -m 'Move to taglab 0.2'")


def plan(lab: Path) -> Migration:
    """Return what there is to do in a lab. Raises LabError where it must not be done now."""
    if not (lab / LIBRARY / "__init__.py").exists():
        raise LabError(f"{LIBRARY} is missing. Type: cruft update, or bake a lab beside this one "
                       f"and copy its folder {LIBRARY.parent}; then commit it")
    if git("status", "--porcelain", cwd=lab):
        raise LabError("something is not committed, so this could not be undone. Type: "
                       "git add -A && git commit -m 'Before the migration'")
    blobs = {path: blob for mode, blob, path in _tracked(lab) if mode.startswith("100")}
    versions = {path: known for path, *known in map(
        str.split, _DELIVERED.read_text(encoding="utf-8").splitlines()) if path != "#"}
    unchanged = {path for path, blob in blobs.items() if blob[:12] in versions.get(path, ())}
    hook = lab / REPOSITORY / "hooks" / "post-receive"
    found = Migration(
        removed=sorted(unchanged - REPLACED.keys()),
        renews_hook=hook.exists() and LIBRARY.name not in hook.read_text(encoding="utf-8"))
    edited = sorted(versions.keys() & blobs.keys() - unchanged - REPLACED.keys())
    found.left += [f"{path}: was changed here, so it stays. Keep what is yours of it in a file of "
                   "your own, then remove it" for path in edited if path != _OLD_SETTINGS]
    _plan_settings(lab, _OLD_SETTINGS in edited, found)
    place = LIBRARY.parent / _START
    if (lab / LIBRARY / _START).exists() and not (lab / place).exists():
        found.changed[place.as_posix()] = "", (lab / LIBRARY / _START).read_text(encoding="utf-8")
    texts = dict(_texts(lab, blobs.keys() - found.removed))
    names = Names(library_names(lab), own_names(texts))
    for path, old in sorted(texts.items()):
        is_replaced = path in unchanged and path in REPLACED
        new, notes = (REPLACED[path], []) if is_replaced else rewritten(path, old, names)
        found.left += [f"{path}, {note}" for note in notes]
        if new != old:
            found.changed[path] = old, new
    return found


def _plan_settings(lab: Path, is_edited: bool, found: Migration) -> None:
    """Plan what becomes of edited settings; `cruft update` may have taken them to the library."""
    edited = edited_files(lab / LIBRARY) or []
    if edited:
        found.left.append(f"{LIBRARY}: not as it was delivered are {', '.join(edited)}. Bake a lab "
                          "beside this one and copy the folder from there")
    if (lab / SETTINGS).exists():
        found.left += [f"{_OLD_SETTINGS}: {SETTINGS} is read instead"] if is_edited else []
    elif is_edited or _NEW_SETTINGS in edited:
        source = lab / _OLD_SETTINGS if is_edited else lab / LIBRARY / _NEW_SETTINGS
        found.changed[SETTINGS.as_posix()] = "", source.read_text(encoding="utf-8")
        found.removed += [_OLD_SETTINGS] if is_edited else []


def _tracked(lab: Path) -> Iterator[tuple[str, str, str]]:
    """Yield mode, blob and path of each committed file."""
    for line in filter(None, git("ls-files", "--stage", "-z", cwd=lab).split("\0")):
        entry, _, path = line.partition("\t")
        yield entry.split()[0], entry.split()[1], path


def _texts(lab: Path, paths: Collection[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path.endswith((".py", ".ipynb", *_TEXTS)) and not path.startswith(
                (f"{LIBRARY.parent}/", _OLD_RUNNER)):
            try:
                yield path, (lab / path).read_bytes().decode()
            except UnicodeDecodeError:
                pass  # nothing of the template's


def library_names(lab: Path) -> dict[str, set[str]]:
    """Return what each module of the lab's copy of taglab defines."""
    package = lab / LIBRARY
    return {_module(file.relative_to(package.parent)):
            defined_names(file.read_text(encoding="utf-8"), imported=file.name == "__init__.py")
            for file in package.rglob("*.py")}


def own_names(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Return what each module defines that stays in the lab's `lib`, and goals/main.py."""
    found = {}
    for path, text in texts.items():
        if path.startswith("lab/lib/") and path.endswith(".py") or path == "goals/main.py":
            try:
                found[_module(PurePosixPath(path.removeprefix("lab/")))] = defined_names(
                    text, imported=True)
            except SyntaxError:
                pass  # named when it is rewritten
    return found


def _module(path: PurePosixPath | Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def rewritten(path: str, text: str, names: Names) -> tuple[str, list[str]]:
    """Return the new text of a file, and what is left to a person."""
    notes: list[str] = []
    try:
        if path.endswith(".py"):
            package = ".".join(PurePosixPath(path.removeprefix("lab/")).parent.parts)
            text, notes = rewrite_python(text, package, names)
        elif path.endswith(".ipynb"):
            return rewrite_notebook(text, names)
        else:
            text = with_library_on_path(rewrite_text(text, names))
    except SyntaxError as error:
        return text, [f"line {error.lineno}: is not Python ({error.msg}), so it stays as it is"]
    except (ValueError, KeyError, TypeError) as error:
        return text, [f"cannot be read, so it stays as it is: {error}"]
    if path == "pyproject.toml":
        text = re.sub(r'(?m)^(pythonpath *= *\[ *"lab")( *\])', r'\1, "vendor"\2', text)
    if path == ".flake8":
        text = re.sub(r"(?m)^((?:extend-)?exclude *=.*\.lab)$", r"\1,vendor", text)
    return with_new_commands(text), notes


def with_library_on_path(text: str) -> str:
    """Put `vendor` behind `lab` wherever a line sets PYTHONPATH to it."""
    def extended(line: re.Match[str]) -> str:
        if re.search(r"\bvendor\b", line[0]):
            return line[0]
        return re.sub(r"(?<=[\s:=\"'])((?:[\w$.{}-]*/)*)lab(?=[\s:;,\"'}]|$)",
                      r"\1lab:\1vendor", line[0], count=1)
    return re.sub(r"PYTHONPATH[\"']?\s*[:=].*", extended, text)


def with_new_commands(text: str) -> str:
    """Replace commands that name the old runner and the old file of the goals."""
    text = re.sub(r"\b(python3?) goals/main\.py\b", r"\1 -m taglab.goals", text)
    text = text.replace(_OLD_SETTINGS, SETTINGS.as_posix())
    return re.sub(r"\b(python3?) runtimes/local(?![\w/])", r"\1 vendor/taglab", text)


def described(found: Migration) -> str:
    """Return what is to be done as a person reads it: diffs, lists, and what is left to them."""
    parts = [_diff(path, old, new) for path, (old, new) in found.changed.items()]
    if found.removed:
        parts.append("Removed, for vendor/taglab has it:\n"
                     + "".join(f"  {path}\n" for path in found.removed))
    if found.renews_hook:
        parts.append(f"Renewed: the hook of {REPOSITORY}, which runs what is pushed\n")
    if not found:
        parts.append("Nothing to do: the lab uses vendor/taglab.\n")
    if found.left:
        parts.append("Left to you:\n" + "".join(f"  {note}\n" for note in found.left))
    return "\n".join(parts).rstrip("\n")


def _diff(path: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True),
                                 f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def carry_out(lab: Path, found: Migration) -> None:
    """Do it. What cannot be lost is written first, and files are removed last."""
    for path, (_, new) in found.changed.items():
        (lab / path).write_bytes(new.encode())
    for path in found.removed:
        (lab / path).unlink()
    for folder in sorted({(lab / path).parent for path in found.removed}, reverse=True):
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    make_remote(lab)
