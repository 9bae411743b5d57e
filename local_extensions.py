"""Jinja filters for cookiecutter.json, the hooks and the files of a lab.

cookiecutter and cruft import this module from the template's root, as `_extensions` in
cookiecutter.json names it. It may use what cookiecutter itself depends on, and nothing else.
"""
from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

import yaml
from jinja2 import Environment
from jinja2.ext import Extension
from slugify import slugify

MAX_SLUG_LENGTH = 40  # hooks/pre_gen_project.py states the whole rule, for answers that were typed
REFUSED_FOLDER = ".refused"
LIBRARY = Path("{{cookiecutter.project_slug}}", "vendor", "taglab")
_PATH = "{{cookiecutter.project_slug}}"
_JINJA = re.compile(r"\{[%#{]")
_FOLDER_NAME = re.compile(rf"[a-z0-9-]{{1,{MAX_SLUG_LENGTH}}}")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>&~|#$]")
_LIST_MARKER = re.compile(r"\A([0-9]+(?=[.)])|(?=[-+]))")


def lab_slug(name: str) -> str:
    """Return the slug to offer for a lab's name, at least 3 characters long.

    It is empty when the name holds no letter and no digit.
    """
    slug = slugify(name or "", max_length=MAX_SLUG_LENGTH)
    return f"{slug}-lab" if 0 < len(slug) < 3 else slug


def divert_unsafe_slug(answers: MutableMapping[str, str]) -> str:
    """Return the name of the lab's folder, and set project_slug to it.

    cookiecutter creates the folder before the pre_gen hook can refuse an answer, and afterwards
    removes the innermost folder only: of `../a/b`, `../a` would stay. A slug that is no plain
    folder name is therefore replaced by `.refused`; the hook judges `__slug_answer`.
    """
    if not _FOLDER_NAME.fullmatch(answers["project_slug"] or ""):
        answers["project_slug"] = REFUSED_FOLDER
    return answers["project_slug"]


def markdown_heading(text: str) -> str:
    """Return one line of Markdown that shows the text as it was typed, for use in a heading.

    Rules: https://spec.commonmark.org/0.31.2/#backslash-escapes
    """
    return _MARKDOWN.sub(r"\\\g<0>", text.strip()).replace("\n", "<br>")


def markdown_paragraph(text: str) -> str:
    """Return one line of Markdown that shows the text as it was typed, as a paragraph.

    Unlike a heading, a paragraph must not begin like an item of a list: `- `, `+ `, `1. `, `1) `.
    """
    return _LIST_MARKER.sub(r"\1\\", markdown_heading(text))


def toml_string(text: str) -> str:
    """Return the text as a TOML basic string, quotes included.

    JSON escapes all that TOML wants escaped, but for U+007F, which the pre_gen hook refuses.
    """
    return json.dumps(text, ensure_ascii=False)


def yaml_string(text: str) -> str:
    """Return the text as a double-quoted YAML scalar of one line: a string, whatever it says."""
    scalar: str = yaml.safe_dump(text, default_style='"', width=float("inf"))
    return scalar.rstrip("\n")


def image_repository(image: str) -> str:
    """Return the name of a container image without tag and digest; a registry's port stays."""
    return re.sub(r":[^:/]*\Z", "", image.partition("@")[0])


def image_registry(image: str) -> str:
    """Return the registry in an image's name, `host` or `host:port`; empty means Docker Hub.

    The first part of a name is a host if it holds a dot or a colon.
    """
    first, slash, _ = image_repository(image).partition("/")
    return first if slash and re.search("[.:]", first) else ""


def library_found() -> bool:
    """Return whether the template's symbolic link to the library is there and leads to it."""
    return (Path(__file__).parent / LIBRARY / "__init__.py").is_file()


class LabExtension(Extension):
    """Makes the functions above available in every template."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        for function in (lab_slug, divert_unsafe_slug, markdown_heading, markdown_paragraph,
                         toml_string, yaml_string, image_repository, image_registry):
            environment.filters[function.__name__] = function
        environment.globals["library_found"] = library_found
        _forget_this_module()

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the template that shows an answer as it was typed; any other is unchanged.

        With --no-input, cookiecutter renders answers too. One with Jinja in it would end the
        command with Jinja's exception; the pre_gen hook refuses it in a sentence.
        """
        if (name is not None or not _JINJA.search(source) or source.startswith(_PATH)
                or source in _templates_without_name()):
            return source
        return f"{{{{ {source!a} }}}}"


def _templates_without_name() -> set[str]:
    """Return what cookiecutter renders from the template itself, beside files and their paths."""
    template = Path(__file__).parent
    questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    hooks = (file.read_text(encoding="utf-8") for file in (template / "hooks").glob("*.py"))
    return {*hooks, *(answer for answer in questions.values() if isinstance(answer, str))}


def _forget_this_module() -> None:
    """Make the next environment import this file anew.

    `cruft update` renders the old and then the new version of the template in one process and from
    one folder. Python would use the old module for both: it keeps modules by name, and trusts
    bytecode whose source has the same size and was written in the same second.
    """
    sys.modules.pop(__name__, None)
    with suppress(OSError):
        Path(importlib.util.cache_from_source(__file__)).unlink()
