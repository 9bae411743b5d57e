"""Wrong answers are refused and leave nothing on disk; all others are shown as they were typed."""
from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from hypothesis import given, settings, strategies
from markdown_it import MarkdownIt

from local_extensions import markdown_heading, markdown_paragraph, toml_string
from tests.conftest import LAB, TEMPLATE, Bake

TypeCookiecutter = Callable[..., subprocess.CompletedProcess[str]]
RULE = "a DNS-1123 label: 3 to 40 characters of a-z, 0-9 and `-`"
WRONG_SLUGS = {  # and what is suggested instead
    "a/b": "a-b", "../evil": "evil", "a/../../evil": "a-evil", "": "my-lab", ".": "my-lab",
    "..": "my-lab", "ab": "ab-lab", "My Lab": "my-lab", "my_lab": "my-lab", "-lab": "lab",
    "lab-": "lab", "a" * 41: "a" * 40, "a" * 5000: "a" * 40, "Grün": "grun", "实验室": "my-lab",
    "🎉🎉🎉": "my-lab", "lab\n": "lab", "a\\b": "a-b", "lab;ls": "lab-ls", "CON": "con",
    "import os": "import-os", "a" * 39 + "_bc": "a" * 39,
}
TEXTS = [
    'quotes " and \' and """ and \'\'\'', "back\\slash \\n \\\\ \\", "two\nlines",
    "\n\nlate\n\n\nend", "# no heading", "key: value", "- no list", "+ no list", "12. no list",
    "3) no list", "> no quote",
    "*a* _b_ __c__ ~~d~~ `e` [f](g) ![h](i) <b>j</b> &amp; &lt; | $k$", "trailing #", "---", "===",
    "</script><!-- x -->", "    indented", "a\tb", "😀 émoji 👩‍🔬 漢字", "}} %} #}", "{ {x} }",
    "${HOME} $(ls)", "x" * 5000, "word " * 1000, "\u2028\ufeff\u200b\ufffe", "%s %(a)s {0}",
]


@pytest.mark.parametrize("slug", WRONG_SLUGS, ids=lambda slug: ascii(slug)[:20])
def test_a_wrong_slug_leaves_nothing_and_the_message_says_what_to_type(
        slug: str, bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(FailedHookException):
        bake(tmp_path / "deep" / "labs", project_slug=slug)
    shown = capfd.readouterr().err
    assert f"project_slug: {RULE}" in shown
    assert (repr(slug) if len(slug) < 60 else repr(slug)[:60]) in shown
    assert f"type instead: '{WRONG_SLUGS[slug]}'" in shown
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "deep", tmp_path / "deep" / "labs",
                                                 *(tmp_path / "home").rglob("*")}


def test_an_absolute_path_is_refused_as_a_slug(bake: Bake, tmp_path: Path) -> None:
    with pytest.raises(FailedHookException):
        bake(project_slug=str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("slug", ["abc", "a--b", "a" * 40, "class", "123", "null", "1e5", "a-1"])
def test_every_dns_label_is_accepted_as_a_slug(slug: str, bake: Bake) -> None:
    lab = bake(project_slug=slug)
    assert lab.name == slug
    assert tomllib.loads((lab / "pyproject.toml").read_text())["project"]["name"] == slug


def test_a_refusal_leaves_an_existing_folder_alone(bake: Bake, tmp_path: Path) -> None:
    (tmp_path / "labs" / "my-lab").mkdir(parents=True)
    (tmp_path / "labs" / "my-lab" / "notes").write_text("mine")
    with pytest.raises(FailedHookException):
        bake(overwrite=True, project_slug="my-lab", runner_image="No Image")
    assert [file.name for file in (tmp_path / "labs" / "my-lab").iterdir()] == ["notes"]


def test_a_wrong_answer_at_the_prompt_ends_the_command(type_cookiecutter: TypeCookiecutter,
                                                       tmp_path: Path) -> None:
    done = type_cookiecutter(answers="A {{ b }} lab\n../evil\n{% c %}\n{# d #}\n\n\n\n\n\n")
    assert done.returncode != 0
    for text in (RULE, "'../evil'", "'evil'", "'A { { b }} lab'", "'{ % c %}'", "'{ # d #}'"):
        assert text in done.stdout
    assert not any((tmp_path / "labs").iterdir()) and not (tmp_path / "evil").exists()


def test_the_prompts_offer_an_answer_to_each_question(type_cookiecutter: TypeCookiecutter,
                                                      tmp_path: Path) -> None:
    done = type_cookiecutter(answers="Rain & \\Snow\\ \"1\"\n" + 8 * "\n")
    assert done.returncode == 0, done.stdout
    assert "[9/9]" in done.stdout and "[10/" not in done.stdout
    assert (tmp_path / "labs" / "rain-snow-1" / ".git").exists()


@pytest.mark.parametrize("text", [
    "a {{ b }}", "{{ 1 }}", "a {# b #} c", "{% raw %}a{% endraw %}", "a {% b", "a {# b", "{{",
    "{{ 1 / 0 }}", "{{ cookiecutter.x.y }}", "{{ 'it\\'s' }}"])
def test_jinja_in_an_answer_is_refused_without_prompts_too(
        text: str, bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FailedHookException):
        bake(description=text)
    shown = capfd.readouterr().err
    assert "description: any text without {" in shown and f"your answer:  {text!r}" in shown
    assert not any((tmp_path / "labs").iterdir())


def test_jinja_in_every_answer_is_refused_by_name(
        bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ("project_name", "project_slug", "description", "author_name", "mlflow_tracking_uri",
             "s3_endpoint")
    with pytest.raises(FailedHookException):
        bake(**dict.fromkeys(names, "{% x"))
    shown = capfd.readouterr().err
    assert all(f"\n{name}: " in shown for name in names)
    with pytest.raises(FailedHookException):
        bake(runner_image="{{ x }}")
    assert "\nrunner_image: " in capfd.readouterr().err
    assert not any((tmp_path / "labs").iterdir())


def test_an_empty_answer_of_a_configuration_file_is_refused_by_name(
        bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ("project_name", "description", "runner_image", "start_git")
    with pytest.raises(FailedHookException):
        bake(project_slug=None, **dict.fromkeys(names))
    shown = capfd.readouterr().err
    assert all(f"\n{name}: it is empty in the configuration file" in shown for name in names)
    assert not any((tmp_path / "labs").iterdir())


@pytest.mark.parametrize(("written", "answer"), [
    (False, False), (True, True), ("no", False), ("yes", True), ("off", False), ("y", True)])
def test_yaml_may_say_no_to_git_in_any_way(written: object, answer: bool) -> None:
    context = generate_context(str(TEMPLATE / "cookiecutter.json"),
                               default_context={"start_git": written})
    assert prompt_for_config(context, no_input=True)["start_git"] is answer


@pytest.mark.parametrize("path", ["__a__", "_a_/~~b~~", "a*"])
def test_an_address_is_shown_as_it_was_typed(path: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in sorted((TEMPLATE / LAB).glob("*.md"))]
    lines = [line for page in pages for line in page.split("\n") if "_uri }}" in line]
    assert lines
    for line in lines:
        shown = re.sub(r"\{\{.*?\}\}", f"http://host/{path}", line)
        assert f"http://host/{path}" in "".join(
            text for _, parts in shown_by_markdown(shown) for words in parts for text in words)


@pytest.mark.parametrize("name, answer", [
    *((name, answer) for name in ("mlflow_tracking_uri", "s3_endpoint") for answer in (
        "", "mlflow", "ftp://host", "http://", "http://host:port", "http://user:secret@host",
        "http://a b", "http://host # x", "http://host\n- x", "http://host: x", "http://${HOST}")),
    *(("runner_image", answer) for answer in (
        "", "My Image", "a:b:c", "image:", "/image", "../image", "image # x", "a\nb", "12:30",
        "image: x", "${IMAGE}")),
    ("project_name", " \n "), ("project_name", "a\x07b"), ("author_name", "\x7f"),
    ("description", "\x1b[31mred"), ("description", "\udcff"),
])
def test_a_refused_answer_is_named(name: str, answer: str, bake: Bake, tmp_path: Path,
                                   capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FailedHookException):
        bake(**{"project_slug": "my-lab", name: answer})
    shown = capfd.readouterr().err
    assert f"\n{name}: " in shown and shown.count("your answer:") == 1
    assert f"your answer:  {ascii(answer)}" in shown
    assert not any((tmp_path / "labs").iterdir())


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[1:20])
def test_a_lab_shows_text_as_it_was_typed(text: str, bake: Bake) -> None:
    lab = bake(project_slug="my-lab", project_name=text, description=text, author_name=text)
    project = tomllib.loads((lab / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == text
    assert project["authors"] == [{"name": text}]
    page = shown_by_markdown((lab / "README.md").read_text(encoding="utf-8"))
    assert page[0] == ("h1", words(text))
    assert page[1] == ("p", words(text))


typed_text = strategies.text(strategies.one_of(
    strategies.characters(exclude_categories=["Cc", "Cs"]), strategies.sampled_from("\n\t"),
    strategies.sampled_from("\\`*_{}[]()<>#+-.!|~&$\"'1 :="))).filter(
        lambda text: text.strip() and not any(mark in text for mark in ("{{", "{%", "{#")))


@given(text=typed_text)
@settings(deadline=None)
def test_any_text_is_valid_in_toml_and_markdown(text: str) -> None:
    assert tomllib.loads(f"x = {toml_string(text)}")["x"] == text
    page = f"# {markdown_heading(text)}\n\n{markdown_paragraph(text)}\n\nEnd\n"
    assert shown_by_markdown(page) == [("h1", words(text)), ("p", words(text)), ("p", [["End"]])]


def words(text: str) -> list[list[str]]:
    """Return the words of each line: HTML shows several spaces as one."""
    return [line.split() for line in text.strip().split("\n")]


def shown_by_markdown(text: str) -> list[tuple[str, list[list[str]]]]:
    """Return the blocks of a Markdown page as displayed: the tag, and the words of each line."""
    page = Page()
    page.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    return [(tag, words("".join(parts))) for tag, parts in page.blocks]


class Page(HTMLParser):
    """Collects the blocks of a page, each with its text."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Begin a block; inside one, only line breaks can come from what was typed."""
        if tag == "br":
            self.blocks[-1][1].append("\n")
        else:
            self.blocks.append((tag, []))

    def handle_data(self, data: str) -> None:
        """Add to the text of the block."""
        if self.blocks and data != "\n":
            self.blocks[-1][1].append(data)
