"""The Jinja filters of the template, and how cookiecutter and cruft load them."""
from __future__ import annotations

import os
import shutil
import sys
import tomllib
import unicodedata
from pathlib import Path

import pytest
import yaml
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context
from hypothesis import example, given, strategies

from local_extensions import (
    REFUSED_FOLDER, divert_unsafe_slug, image_registry, image_repository, lab_slug,
    markdown_heading, markdown_paragraph, toml_string, yaml_string)
from tests.conftest import TEMPLATE

CONTEXT = {"cookiecutter": {"_extensions": ["local_extensions.LabExtension"]}}


@pytest.mark.parametrize("name, slug", [
    ("My Lab", "my-lab"), ("AI", "ai-lab"), ("R&D: Grün", "r-d-grun"), ("C++ / Rust", "c-rust"),
    ("Лаборатория 7", "laboratoriia-7"), ("x" * 39 + " yz", "x" * 39), (" 2024 plan ", "2024-plan"),
    ("🎉", ""), ("abc", "abc"),
])
def test_the_slug_offered_for_a_name(name: str, slug: str) -> None:
    assert lab_slug(name) == slug
    context = generate_context(str(TEMPLATE / "cookiecutter.json"),
                               extra_context={"project_name": name})
    assert prompt_for_config(context, no_input=True)["__slug_answer"] == slug


@pytest.mark.parametrize("slug", ["", ".", "..", "a/b", "/a", "A", "a_b", "a b", "é", "a\n",
                                  "a" * 41])
def test_an_unsafe_slug_never_names_a_folder(slug: str) -> None:
    answers = {"project_slug": slug, "project_name": "x"}
    assert divert_unsafe_slug(answers) == REFUSED_FOLDER
    assert answers == {"project_slug": REFUSED_FOLDER, "project_name": "x"}


@given(slug=strategies.text() | strategies.text("ab-9./"))
def test_any_slug_names_a_folder_directly_inside_the_output_folder(slug: str) -> None:
    answers = {"project_slug": slug}
    name = divert_unsafe_slug(answers)
    assert answers == {"project_slug": name}
    assert name in (slug, REFUSED_FOLDER)
    assert Path("labs", name).parent == Path("labs") and name not in ("", ".", "..")


@pytest.mark.parametrize("text, heading, paragraph", [
    ("Plain text", "Plain text", "Plain text"),
    (" a*b_c \n", r"a\*b\_c", r"a\*b\_c"),
    ("two\nlines", "two<br>lines", "two<br>lines"),
    ("- a", "- a", r"\- a"), ("+1", "+1", r"\+1"), ("a - b", "a - b", "a - b"),
    ("12. a", "12. a", r"12\. a"), ("3) a", "3) a", r"3\) a"), ("3.14", "3.14", r"3\.14"),
    ("v2. a", "v2. a", "v2. a"), (".a", ".a", ".a"), ("-*", r"-\*", r"\-\*"),
    ("<b>\\", r"\<b\>" "\\\\", r"\<b\>" "\\\\"), ("", "", ""),
])
def test_markdown_shows_text_as_it_was_typed(text: str, heading: str, paragraph: str) -> None:
    assert (markdown_heading(text), markdown_paragraph(text)) == (heading, paragraph)


@given(text=strategies.text().filter(  # what the pre_gen hook accepts
    lambda text: not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text)))
def test_a_toml_string_holds_any_text(text: str) -> None:
    assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}
    assert "\n" not in toml_string(text)


@given(text=strategies.text(strategies.characters(exclude_categories=["Cs"])))
@example("no")
@example("0x1f")
@example("10:30")
@example("a: b # c\n\x85d\u2028\U0001f600\x7f")
def test_a_yaml_string_holds_any_text(text: str) -> None:
    scalar = yaml_string(text)
    assert yaml.safe_load(f"x: {scalar}  # comment") == {"x": text}
    assert "\n" not in scalar and scalar[0] == scalar[-1] == '"'


@pytest.mark.parametrize("image, repository, registry", [
    ("my-lab-runner", "my-lab-runner", ""), ("lab:2024.1", "lab", ""), ("team/lab", "team/lab", ""),
    ("host.example/a/b", "host.example/a/b", "host.example"),
    ("registry:5000/lab", "registry:5000/lab", "registry:5000"),
    ("registry:5000/lab:1", "registry:5000/lab", "registry:5000"),
    ("lab@sha256:00", "lab", ""), ("ghcr.io/a/b:1@sha256:00", "ghcr.io/a/b", "ghcr.io"),
    ("a.b", "a.b", ""), ("a.b:1", "a.b", ""),
])
def test_the_parts_of_an_image(image: str, repository: str, registry: str) -> None:
    assert (image_repository(image), image_registry(image)) == (repository, registry)


word = strategies.from_regex(r"[a-z0-9]+", fullmatch=True)


@given(host=strategies.from_regex(r"[a-z]+(\.[a-z]+|:[0-9]+)", fullmatch=True),
       path=strategies.lists(word, min_size=1, max_size=3).map("/".join),
       tag=strategies.from_regex(r"(:\w[\w.-]*)?(@sha256:[0-9a-f]+)?", fullmatch=True))
def test_any_image_is_taken_apart_as_it_was_put_together(host: str, path: str, tag: str) -> None:
    assert image_repository(path + tag) == path and image_registry(path + tag) == ""
    assert image_repository(f"{host}/{path}{tag}") == f"{host}/{path}"
    assert image_registry(f"{host}/{path}{tag}") == host


ENVIRONMENT = create_env_with_context(CONTEXT)


@given(text=strategies.text() | strategies.text("{}%# '\"\\\n-a"))
def test_an_answer_is_rendered_as_it_was_typed(text: str) -> None:
    text = text.replace("\r", "")  # Jinja ends all lines with \n
    assert ENVIRONMENT.from_string(text).render() == text


def test_each_environment_reads_the_file_anew(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """An update with cruft loads an old and a new version of the file in one process."""
    monkeypatch.delitem(sys.modules, "local_extensions", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(tmp_path)
    file = Path(shutil.copy2(TEMPLATE / "local_extensions.py", tmp_path))
    written = file.stat()
    first = create_env_with_context(CONTEXT)
    assert first.filters["lab_slug"]("AI") == "ai-lab"

    file.write_text(file.read_text().replace("{slug}-lab", "{slug}-bal"))
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))  # as if in the same second
    assert file.stat().st_size == written.st_size
    second = create_env_with_context(CONTEXT)
    assert second.filters["lab_slug"]("AI") == "ai-bal"
    assert first.filters["lab_slug"]("AI") == "ai-lab"
