"""Rewrites what labs from before 0.2 import: `lib.tracking` is now `taglab.tracking`, and so on.

Pure functions from text to text. Comments, layout and line ends stay as they are.
"""
from __future__ import annotations

import ast
import bisect
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Collection, Mapping
from dataclasses import dataclass

WIDTH = 100  # of a line, as in the labs' .flake8
MODULES = {
    "goals.main": "taglab.goals",
    "lib.cluster": "taglab.cluster",
    "lib.components": "taglab.training.components",
    "lib.config": "taglab.config",
    "lib.data": "taglab.datasets",
    "lib.search": "taglab.search",
    "lib.tensorboard": "taglab.training.tensorboard",
    "lib.testing": "taglab.testing",
    "lib.tracking": "taglab.tracking",
    "lib.training": "taglab.training",
    "lib.training_data": "taglab.training.data",
    "lib.training_loop": "taglab.training.loop",
    "lib.training_report": "taglab.training.logger",
    "lib.patient_store": "taglab.tracking.buffered_store",
    **{f"lib.{name}": f"taglab.tracking.{name}" for name in (
        "capture", "command", "outbox", "provenance", "signals", "store",
        "summary", "ui")},
}
_FIGURES = "lib.viz"  # stays, but gave its figures of searches away
_DOTTED = re.compile(r"(?<![\w./])lib(?:\.[A-Za-z_]\w*)+(?::[A-Za-z_]\w*)?")
_DOTTED_IN_TEXT = re.compile(rf"(?:(?<=[\"'`])|(?<=-m )|(?<=from )|(?<=import )){_DOTTED.pattern}")
_INSTEAD = {"LAB": "taglab.lab.lab_root()"}  # of names that are gone
_MAGIC = re.compile(r"(?m)^(\s*)[%!?]")  # a line of a notebook that IPython reads
Edit = tuple[int, int, str]  # from, to, and what stands there afterwards


@dataclass(frozen=True)
class Names:
    """The names that modules define, by module: of taglab, and of what stays in the lab's `lib`."""

    taglab: Mapping[str, Collection[str]]
    lab: Mapping[str, Collection[str]]

    def module(self, old: str) -> str | None:
        """Return the new name of a module; None for one that stays."""
        if old in self.lab:
            return None
        package, _, name = old.rpartition(".")
        inside = f"{MODULES.get(package)}.{name}"
        return MODULES.get(old) or (inside if inside in self.taglab else None)

    def home(self, old: str, name: str) -> str | None:
        """Return the module that has a name of an old module now; None where none has it."""
        new = self.module(old)
        if new is None and (old != _FIGURES or name in self.lab.get(old, ())):
            return old
        if new and (name == "*" or name in self.taglab.get(new, ())):
            return new
        found = [module for module, names in self.taglab.items() if name in names]
        near = [module for module in found if new and _package(module) == _package(new)] or found
        if len(set(map(_package, near))) == 1:
            return min(near, key=len)
        return None if new else old


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def defined_names(text: str, imported: bool) -> set[str]:
    """Return the names that a module defines at its top, and those that it imports if wanted."""
    tree = ast.parse(text)
    inner = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]
    names: set[str] = set()
    for node in (*tree.body, *inner):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names |= {each.id for each in ast.walk(node)
                      if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        elif imported and isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def rewrite_text(text: str, names: Names) -> str:
    """Rewrite modules in quotes, after `-m`, and in imports, in a text that is not Python."""
    return _DOTTED_IN_TEXT.sub(lambda found: _renamed(found[0], names)[0], text)


def rewrite_python(text: str, package: str, names: Names) -> tuple[str, list[str]]:
    """Rewrite a module of `package`; returns it, and what is left to a person, with its line.

    Raises SyntaxError where the text is not Python.
    """
    edits, notes = _edits(text, package, names)
    return _edited(text, edits), notes


def rewrite_notebook(text: str, names: Names) -> tuple[str, list[str]]:
    """Rewrite the code of a notebook; returns it, and what is left to a person, with its place.

    Raises ValueError or KeyError where the text is not a notebook.
    """
    notebook = json.loads(text)
    indent = next((indent for indent in (1, 2, 4, None) if _dumped(notebook, indent) == text), 1)
    notes, is_changed = [], False
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code":
            old = "".join(cell["source"])
            new, left = _rewrite_cell(old, names)
            notes += [f"cell {number}, {note}" for note in left]
            if new != old:
                is_changed = True
                as_lines = isinstance(cell["source"], list)
                cell["source"] = new.splitlines(keepends=True) if as_lines else new
    return _dumped(notebook, indent) if is_changed else text, notes


def _rewrite_cell(text: str, names: Names) -> tuple[str, list[str]]:
    for source in (text, _MAGIC.sub(r"\1#", text)):  # as long, so that places stay the same
        try:
            edits, notes = _edits(source, "", names)
            return _edited(text, edits), notes
        except SyntaxError:
            pass
    return rewrite_text(text, names), []  # another language, after %%


def _dumped(notebook: object, indent: int | None) -> str:
    return json.dumps(notebook, indent=indent, ensure_ascii=False) + "\n"


def _edited(text: str, edits: list[Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _edits(text: str, package: str, names: Names) -> tuple[list[Edit], list[str]]:
    tree, source = ast.parse(text), _Source(text)
    edits: list[Edit] = []
    notes: list[tuple[int, str]] = []
    modules: dict[str, str] = {}  # what local names of modules stand for
    plain: list[range] = []  # statements `import lib.…`
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            plain.append(range(*source.span(node)))
            modules |= {alias.asname or "lib": alias.name if alias.asname else "lib"
                        for alias in node.names if alias.name.startswith("lib.")}
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            for alias in node.names:
                if module == "lib":
                    modules[alias.asname or alias.name] = f"lib.{alias.name}"
                elif names.home(module, alias.name) is None:
                    notes.append((node.lineno, _gone(module, alias.name)))
            groups = _grouped(node, module, names)
            if list(groups) != [module]:
                start, end = source.span(node)
                edits.append((start, end, _statements(groups, module, source, start, end)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            old = modules.get(node.value.id, "lib")
            home = names.home(old, node.attr)
            if old != "lib" and home != (names.module(old) or old):
                notes.append((node.lineno, _moved(f"{home}.{node.attr}") if home else
                              _gone(old, node.attr)))
    done = [range(start, end) for start, end, _ in edits]
    for found in _DOTTED.finditer(text):
        place, is_code = found.start(), found.start() in source.libs
        is_module = "lib" in modules or any(place in span for span in plain)
        if (is_module or not is_code) and not any(place in span for span in done):
            new, note = _renamed(found[0], names)
            edits.append((*found.span(), new))
            if is_code and note:
                notes.append((source.line(place), note))
    return edits, [f"line {number}: {note}" for number, note in sorted(notes)]


class _Source:
    """What stands where in a text that is Python."""

    def __init__(self, text: str):
        self.text = text
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.comments: dict[int, str] = {}
        self.libs: set[int] = set()  # where the name `lib` stands outside of texts
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                self.comments[self.starts[token.start[0] - 1] + token.start[1]] = token.string
            elif token.type == tokenize.NAME and token.string == "lib":
                self.libs.add(self.starts[token.start[0] - 1] + token.start[1])

    def span(self, node: ast.stmt) -> tuple[int, int]:
        """Return the offsets of a statement."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (self._offset(node.lineno, node.col_offset),
                self._offset(node.end_lineno, node.end_col_offset))

    def _offset(self, line: int, column: int) -> int:
        start = self.starts[line - 1]  # and `column` counts bytes
        return start + len(self.text[start:start + column].encode()[:column].decode())

    def line(self, offset: int) -> int:
        """Return the number of the line at an offset."""
        return bisect.bisect(self.starts, offset)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    parts = package.split(".")
    parents = parts[:len(parts) - node.level + 1] if node.level else []
    return ".".join([*parents, *([node.module] if node.module else [])])


def _grouped(node: ast.ImportFrom, module: str, names: Names) -> dict[str, list[str]]:
    """Return what a statement imports, by the module that has it now."""
    groups: dict[str, list[str]] = {}
    for alias in node.names:
        place, name, known_as = names.home(module, alias.name), alias.name, alias.asname
        if module == "lib" and (new := names.module(f"lib.{name}")):
            known_as = known_as or name
            place, _, name = new.rpartition(".")
        groups.setdefault(place or module, []).append(
            name if known_as in (None, name) else f"{name} as {known_as}")
    return groups


def _statements(groups: Mapping[str, list[str]], module: str, source: _Source, start: int,
                end: int) -> str:
    """Return the text that imports from the new places, laid out as before where that fits."""
    old, before = source.text[start:end], source.text[source.starts[source.line(start) - 1]:start]
    indent = before if before.isspace() else ""
    if len(groups) == 1 and module != "lib":
        new = re.sub(r"^from\s*\S+\s+import", f"from {list(groups)[0]} import", old)
        first, *more = new.splitlines()
        if len(before + first) <= WIDTH and (not more or re.search(r"\(\s*(#|$)", first)):
            return new
    newline = "\r\n" if "\r\n" in source.text else "\n"
    comments = [text for place, text in source.comments.items() if start < place < end]
    statements = [_statement(place, imported, indent, newline)
                  for place, imported in groups.items()]
    return ("; " if before.strip() else newline + indent).join([*comments, *statements])


def _statement(place: str, imported: list[str], indent: str, newline: str) -> str:
    line = f"from {place} import {', '.join(imported)}"
    if len(indent + line) <= WIDTH:
        return line
    margin = indent + 4 * " "
    body = textwrap.wrap(", ".join(imported), WIDTH - 1, initial_indent=margin,
                         subsequent_indent=margin)
    return newline.join([f"from {place} import (", *body]) + ")"


def _renamed(dotted: str, names: Names) -> tuple[str, str]:
    """Return the new form of `lib.module.name` or `lib.module:name`, and a note for a person.

    There is a note where the name is not in the module that its old module became.
    """
    parts = re.split(r"([.:])", dotted)  # names, and what stands between them
    for end in range(len(parts), 2, -2):
        old = "".join(parts[:end])
        new = names.module(old) or (old if old == _FIGURES else None)
        if new and end == len(parts):
            return new, ""
        if new:
            home, rest = names.home(old, parts[end + 1]), "".join(parts[end:])
            return (home or new) + rest, (
                _gone(old, parts[end + 1]) if home is None else
                _moved(home + rest) if home != new else "")
    return dotted, ""


def _moved(name: str) -> str:
    return f"import {name.rpartition('.')[0]}, which now has {name.rpartition('.')[2]}"


def _gone(module: str, name: str) -> str:
    hint = _INSTEAD.get(name)
    return f"taglab has no {module}.{name}" + (f"; use {hint}" if hint else "")
