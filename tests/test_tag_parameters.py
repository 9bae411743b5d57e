"""The parameters in a tag's message: their text, and what a process makes of each kind of checkout.
"""
from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taglab.config import load_config
from taglab.tag_parameters import (
    Parameter, TagError, TagMessage, ending, marked, message_of_build, read_message, to_toml,
    write_message)
from tests.runner.conftest import GIT_VARIABLES

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(
    TEXTS, st.booleans(), st.integers(), st.floats(allow_nan=False), st.dates(), st.times(),
    st.datetimes(), st.datetimes(timezones=st.just(datetime.UTC)))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4)
                      | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=10)
KEYS = st.from_regex(r"[\w .:/-]{1,12}", fullmatch=True)
PARAMETERS = st.builds(Parameter, st.from_regex(r"\w{1,8}", fullmatch=True), KEYS,
                       VALUES.map(to_toml))
FOLDS = Parameter("svm_search", "folds", "5")
TAG = marked("svm-search-v1", [FOLDS])
MESSAGE = write_message(TAG, TagMessage("Five folds?", (FOLDS,)))


@given(parameters=st.lists(PARAMETERS, max_size=4, unique_by=lambda each: str(each)[:6]),
       question=TEXTS.map(str.strip))
@example(parameters=[], question="# not a comment\n#1")
@example(parameters=[FOLDS], question="Lab-Parameter: svm_search.folds=6\n\n---\nSigned-off-by: me")
@example(parameters=[FOLDS], question="-----BEGIN PGP SIGNATURE-----")
@example(parameters=[], question="why\n\nLab-Parameter: svm_search.folds=6")
def test_any_parameters_and_any_question_come_back_or_are_refused(parameters, question) -> None:
    message = TagMessage(question, tuple(parameters))
    try:
        text = write_message("a-v1", message)
    except TagError:
        assert "lab-parameter" in question.lower() or "-----BEGIN" in question or (
            question == "a-v1" or len({(each.process, each.key) for each in parameters})
            < len(parameters))
        return
    assert read_message("a-v1", text) == message
    assert read_message("a-v1", f"{text}-----BEGIN SSH SIGNATURE-----\nx\n") == message


@given(value=VALUES)
@example(value="# a\n= b\r\t\"'\\\x7f\u2028é")
def test_a_value_of_a_config_is_one_line_and_keeps_its_value_and_its_type(value) -> None:
    text = to_toml(value)
    assert "\n" not in text and "\r" not in text
    found = Parameter("p", "k", text).value
    assert found == value and type(found) is type(value)


@given(text=st.one_of(TEXTS, st.lists(st.sampled_from([
    "Lab-Parameter: a.b=1", "lab-parameter: a.b=1", "Lab-Parameter: a.c=[", "Lab-Parameter:a.b=1",
    "Lab-Parameter: a.b=1\r", " more", "", "Signed-off-by: me", "-----BEGIN PGP SIGNATURE-----",
    "Lab-Parameter: a.d=1\u2028Lab-Parameter: a.e=2", "subject"]), max_size=7).map("\n".join)))
def test_any_message_is_read_or_refused(text: str) -> None:
    try:
        message = read_message("a-v1", text)
    except TagError as error:
        assert str(error)
        return
    assert read_message("a-v1", write_message("a-v1", message)) == message
    assert all(f"Lab-Parameter: {each}" in text.split("\n") for each in message.parameters)


@pytest.mark.parametrize("last, why", [
    ("Lab-Parameter: svm_search.folds", "not of the form"),
    ("Lab-Parameter: folds=5", "not of the form"),
    ("lab-parameter: svm_search.folds=5", "not of the form"),
    ("Lab-Parameter=svm_search.folds=5", "not of the form"),
    ("Lab-Parameter: svm_search.folds=5\x1b", "not of the form"),
    ("Lab-Parameter: svm_search.folds=five", "is not TOML"),
    ("Lab-Parameter: svm_search.folds=" + "[" * 100_000, "is not TOML"),
    ("Lab-Parameter: svm_search.folds=5\n 0", "begin with a blank"),
    ("Lab-Parameter: a.b=5\nLab-Parameter: a.b=6", "twice"),
])
def test_a_trailer_of_another_form_is_refused(last: str, why: str) -> None:
    with pytest.raises(TagError, match=why):
        read_message("a-v1", f"Subject\n\n{last}\n")


def test_only_the_last_paragraph_counts_and_other_trailers_mean_nothing() -> None:
    assert read_message("a-v1", f"Lab-Parameter: a.b=1\n\n{MESSAGE}Signed-off-by: me\n") == (
        TagMessage("Lab-Parameter: a.b=1\n\nFive folds?", (FOLDS,)))
    assert read_message("a-v1", "Lab-Parameter: a.b=1\n\nand more").parameters == ()


def test_the_ending_of_a_name_tells_the_parameters_in_any_order() -> None:
    other = Parameter("svm_search", "seed", "1")
    assert marked("a-v1", []) == "a-v1" and ending("a-v1") == ending("a-v1.2") == ""
    assert marked("a-v1", [FOLDS, other]) == marked("a-v1", [other, FOLDS])
    assert len({marked("a-v1", each) for each in ([FOLDS], [other], [FOLDS, other])}) == 3
    assert marked("a-v1", [FOLDS]) == f"a-v1.p{ending(marked('b-v2', [FOLDS]))}"


def git(folder: Path, *words: str, text: str = "") -> str:
    """Run git in a folder."""
    return subprocess.run(["git", "-c", "protocol.file.allow=always", *words], cwd=folder,
                          text=True, check=True, input=text, stdout=subprocess.PIPE,
                          env={**os.environ, **GIT_VARIABLES}).stdout.strip()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a process, two commits, and a tag of each kind."""
    folder = tmp_path_factory.mktemp("origin")
    (folder / "svm_search").mkdir()
    (folder / "svm_search/config.toml").write_text("folds = 3\nseed = 0\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    git(folder, "commit", "-qm", "Second", "--allow-empty")
    for tag, message in ((TAG, MESSAGE), ("asked-v1", "Why?"), ("unmarked-v1", MESSAGE)):
        git(folder, "tag", "-a", "--cleanup=verbatim", "-F-", tag, text=message)
    git(folder, "tag", "plain-v1")
    return folder


def drone(origin: Path, tag: str, folder: Path, *options: str) -> None:
    """Clone as Drone does."""
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", origin.as_uri())
    git(folder, "fetch", "-q", *options, "origin", f"+refs/tags/{tag}:")
    git(folder, "checkout", "-q", "FETCH_HEAD")


def shallow(origin: Path, tag: str, folder: Path) -> None:
    drone(origin, tag, folder, "--depth=1")


def one_branch(origin: Path, tag: str, folder: Path) -> None:
    git(folder, "clone", "-q", "--depth=1", "--single-branch", "-b", tag, origin.as_uri(), ".")


def full(origin: Path, tag: str, folder: Path) -> None:
    git(folder, "clone", "-q", origin.as_uri(), ".")


def worktree(origin: Path, tag: str, folder: Path) -> None:
    full(origin, tag, folder)
    folder.rename(folder.with_name("main"))
    git(folder.with_name("main"), "worktree", "add", "-q", str(folder), tag)


def wide_pod(origin: Path, tag: str, folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "fetch", "-q", "--depth=1", origin.as_uri(), f"refs/tags/{tag}")
    git(folder, "checkout", "-q", git(origin, "rev-parse", f"{tag}^{{commit}}"))


def rewritten(origin: Path, tag: str, folder: Path) -> None:
    """Fetch the commit under the tag's name: the tag becomes a lightweight one."""
    commit = git(origin, "rev-parse", f"{tag}^{{commit}}")
    git(folder, "init", "-q")
    git(folder, "fetch", "-q", "--no-tags", origin.as_uri(), f"+{commit}:refs/tags/{tag}")
    git(folder, "checkout", "-q", tag)


def no_tags(origin: Path, tag: str, folder: Path) -> None:
    git(folder, "clone", "-q", "--no-tags", "--depth=1", origin.as_uri(), ".")


def exported(origin: Path, tag: str, folder: Path) -> None:
    subprocess.run(f"git -C {origin} archive {tag} | tar x", cwd=folder, shell=True, check=True)


WITH_MESSAGE = [drone, shallow, one_branch, full, worktree, wide_pod]
WITHOUT = [rewritten, no_tags, exported]
Checkout = Callable[[Path, str, Path], None]


@pytest.fixture
def checkout(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
             ) -> Callable[[Checkout, str], Path]:
    """Return a function that checks a tag out, and puts this process into its build."""
    for name, value in GIT_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))

    def make(how: Checkout, tag: str) -> Path:
        folder = tmp_path / "src"
        folder.mkdir()
        how(origin, tag, folder)
        monkeypatch.setenv("DRONE_TAG", tag)
        monkeypatch.setenv("DRONE_COMMIT_SHA", git(origin, "rev-parse", f"{tag}^{{commit}}"))
        return folder / "svm_search" / "main.py"
    return make


@pytest.mark.parametrize("how", WITH_MESSAGE)
def test_a_checkout_with_the_message_gives_the_parameters(how, checkout) -> None:
    main = checkout(how, TAG)
    assert load_config(main, []) == {"folds": 5, "seed": 0}
    assert load_config(main, ["folds=7"])["folds"] == 7  # the command line wins
    assert message_of_build(main.parent).question == "Five folds?"


@pytest.mark.parametrize("how", WITHOUT)
def test_a_checkout_that_has_lost_the_message_ends_the_process(how, checkout, capsys) -> None:
    main = checkout(how, TAG)
    with pytest.raises(SystemExit) as end:
        load_config(main, [])
    assert end.value.code == 3
    said = capsys.readouterr().err.splitlines()[0]
    assert f"{TAG} changes parameters, and this checkout has lost its message" in said
    if how is no_tags:  # what it says to type helps
        git(main.parent, *said.partition("type: git ")[2].split())
        assert load_config(main, [])["folds"] == 5


@pytest.mark.parametrize("how", [*WITH_MESSAGE, *WITHOUT])
def test_a_plain_tag_needs_no_message_in_any_checkout(how, checkout) -> None:
    assert load_config(checkout(how, "plain-v1"), []) == {"folds": 3, "seed": 0}


def test_the_message_of_a_tag_without_parameters_is_a_question(checkout) -> None:
    main = checkout(shallow, "asked-v1")
    assert message_of_build(main.parent) == TagMessage("Why?")
    assert load_config(main, []) == {"folds": 3, "seed": 0}


def test_outside_of_a_build_no_tag_changes_anything(checkout, monkeypatch) -> None:
    main = checkout(full, TAG)
    monkeypatch.delenv("DRONE_TAG")
    assert load_config(main, ["seed=2"]) == {"folds": 3, "seed": 2}


def test_a_server_may_give_the_tag_s_own_id_for_the_commit(checkout, origin, monkeypatch) -> None:
    main = checkout(shallow, TAG)
    monkeypatch.setenv("DRONE_COMMIT_SHA", git(origin, "rev-parse", TAG))
    assert load_config(main, [])["folds"] == 5


@pytest.mark.parametrize("how", [shallow, full])
def test_a_tag_with_another_message_than_its_name_says_is_refused(how, checkout, origin) -> None:
    """As after the tag was moved, or parameters were written by hand, or it has another name."""
    six = write_message(TAG, TagMessage("Six?", (Parameter("svm_search", "folds", "6"),)))
    git(origin, "tag", "-a", "-F-", "svm-search-v2.p00000000", text=six)
    git(origin, "tag", "renamed-v1", TAG)
    for tag, why in (("svm-search-v2.p00000000", "not the message that it was launched with"),
                     ("unmarked-v1", "its name does not end in"),
                     ("renamed-v1", "its name does not end in")):
        main = checkout(how, tag)
        with pytest.raises(TagError, match=why):
            message_of_build(main.parent)
        main.parents[1].rename(main.parents[2] / tag)
        git(origin, "tag", "-d", tag) if tag != "unmarked-v1" else None


def test_a_tag_that_was_moved_to_another_commit_is_refused(checkout, origin, monkeypatch) -> None:
    main = checkout(shallow, TAG)
    monkeypatch.setenv("DRONE_COMMIT_SHA", git(origin, "rev-parse", "HEAD~1"))
    with pytest.raises(TagError, match="it was moved"):
        message_of_build(main.parent)


def test_without_git_only_a_plain_tag_runs(checkout, monkeypatch) -> None:
    main = checkout(shallow, TAG)
    monkeypatch.setenv("PATH", str(main.parent))
    with pytest.raises(TagError, match="git cannot be started"):
        message_of_build(main.parent)
    monkeypatch.setenv("DRONE_TAG", "plain-v1")
    assert message_of_build(main.parent) == TagMessage()


@pytest.mark.parametrize("parameter, why", [
    (Parameter("svm_search", "fold", "5"), "did you mean folds"),
    (Parameter("svm_search", "folds", '"5"'), "needs a value of type int, got \"5\" from the tag"),
])
def test_a_parameter_that_does_not_fit_the_commit_is_refused(
    parameter, why, checkout, origin, capsys
) -> None:
    tag = marked("svm-search-v3", [parameter])
    git(origin, "tag", "-fa", "-F-", tag, text=write_message(tag, TagMessage("", (parameter,))))
    with pytest.raises(SystemExit):
        load_config(checkout(shallow, tag), [])
    assert why in capsys.readouterr().err


@settings(max_examples=20, deadline=None)
@given(parameters=st.lists(PARAMETERS, min_size=1, max_size=3, unique_by=lambda each: each.key))
def test_git_reads_the_same_trailers(parameters: list[Parameter]) -> None:
    message = TagMessage("Why?", tuple(parameters))
    parsed = subprocess.run(["git", "interpret-trailers", "--parse"], text=True, encoding="utf-8",
                            input=write_message("a-v1", message), stdout=subprocess.PIPE,
                            env={**os.environ, **GIT_VARIABLES}).stdout
    assert parsed == "".join(f"Lab-Parameter: {each}\n" for each in parameters)
