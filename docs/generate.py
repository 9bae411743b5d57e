"""Writes the parts of the reference that come from the code, while MkDocs builds the site.

A page says where, by a line `<!-- generated: NAME WORD… -->`: PARTS has the function for NAME,
which is called with the words.
"""
from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

import click  # noqa: E402, after the path

from taglab.cli.main import commands  # noqa: E402
from taglab.cluster.manifest import WideJob  # noqa: E402
from taglab.engines.drone.lint import RULES  # noqa: E402

MARK = re.compile(r"(?m)^<!-- generated: ([\w-]+)([^>]*) -->$")
WIDTH = 88  # of the help of commands


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts into a page; MkDocs calls this for each."""
    return MARK.sub(lambda found: PARTS[found[1]](*found[2].split()), markdown)


def lab_commands() -> str:
    """Return what `lab --help` prints, and the help of each command."""
    settings = {**commands.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    group = click.Context(commands, info_name="lab", **settings)
    parts = [_block("text", f"$ lab --help\n{commands.get_help(group)}")]
    for name in commands.list_commands(group):
        command = commands.get_command(group, name)
        assert command is not None
        context = click.Context(command, group, info_name=name, **settings)
        parts.append(f"## lab {name}\n\n{_block('text', command.get_help(context))}")
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            own = click.Context(inner, context, info_name=inner.name, **settings)
            parts.append(_block("text", inner.get_help(own)))
    return "\n\n".join(parts)


def lint_rules() -> str:
    """Return a table of the warnings of `lab lint`."""
    rows = [(f"`{rule.__name__}`", " ".join((rule.__doc__ or "").split())) for rule in RULES]
    return _table(("rule", "why"), rows)


def wide_job() -> str:
    """Return a table of the keys of `[cluster]`, with the comments of the class that reads them."""
    comments = dict(re.findall(r"(?m)^    (\w+): .*?  # (.+)$", inspect.getsource(WideJob)))
    rows = []
    for each in dataclasses.fields(WideJob):
        default = each.default
        if default is dataclasses.MISSING:
            default = each.default_factory()  # type: ignore[misc]  # one of the two is there
        shown = {True: "true", False: "false"}.get(default) if isinstance(default, bool) else (
            f'"{default}"' if isinstance(default, str) else str(default))
        rows.append((f"`{each.name}`", f"`{shown}`", comments.get(each.name, "")))
    return _table(("key", "default", "what it is"), rows)


def names(module: str, *first: str) -> str:
    """Return what makes mkdocstrings describe each public name of a module, some of them first."""
    others = [name for name in public_names(module) if name not in first]
    return "\n\n".join(f"::: {module}.{name}" for name in (*first, *others))


def public_names(module: str) -> list[str]:
    """Return the names in `__all__`, or else the functions and classes without underscore."""
    path = ROOT / "src" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value))
    return sorted(node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
                  and not node.name.startswith("_"))


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PARTS: dict[str, Callable[..., str]] = {
    "lab": lab_commands, "lint-rules": lint_rules, "names": names, "wide-job": wide_job}
