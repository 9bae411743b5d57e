"""What stands in data.lock and in a manifest: everything comes back, and nothing else gets in."""
from __future__ import annotations

import subprocess
import tomllib
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglab.datasets.lock import (
    DataError, Entry, File, Lock, check_address, check_name, lock_text, manifest_text,
    parse_lock, parse_manifest)
from taglab.names import is_accepted
from tests.runner.conftest import LAB_FOLDER

SHA = "0123456789abcdef" * 4
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
LINE = (f'"a.csv" = {{ address = "/x/a.csv", sha256 = "{SHA}", size = 1, '
        'added = 2026-01-02T03:04:05Z }\n')


def is_fine(check: object, text: str) -> bool:
    """Return whether a check lets a text through."""
    try:
        check(text)
    except DataError:
        return False
    return True


names = st.one_of(st.text(max_size=30), st.from_regex(r"\w[\w .-]*", fullmatch=True)).filter(
    lambda text: is_fine(check_name, text))
addresses = st.text(min_size=1, max_size=60).filter(lambda text: is_fine(check_address, text))
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
entries = st.builds(
    Entry, names, addresses, hashes, st.integers(0, 2**62),
    st.datetimes().map(lambda date: date.replace(microsecond=0, tzinfo=timezone.utc)),
    st.integers(0, 10**9))
paths = st.lists(st.text(st.characters(exclude_characters="/", exclude_categories=["C", "Z"]),
                         min_size=1, max_size=8).filter(lambda part: part not in (".", "..")),
                 min_size=1, max_size=4).map("/".join)


@settings(max_examples=40)
@given(st.one_of(st.just(""), addresses), st.lists(entries, unique_by=lambda entry: entry.name))
def test_what_is_written_is_read(store: str, found: list[Entry]) -> None:
    lock = Lock(store, {each.name: each for each in found})
    text = lock_text(lock)
    assert parse_lock(text) == lock
    assert lock_text(parse_lock(text)) == text
    assert len(text.splitlines()) == len(found) + (5 if store else 3)  # a line for each


@settings(max_examples=40)
@given(st.one_of(st.text(), st.text("[]{}=\"'\n.,#ad 0", max_size=60),
                 st.integers(0, len(LINE)).map(lambda end: f"[data]\n{LINE[:end]}"),
                 st.tuples(st.integers(0, len(LINE) - 1), st.characters()).map(
                     lambda at: f"[data]\n{LINE[:at[0]]}{at[1]}{LINE[at[0] + 1:]}")))
def test_any_text_is_a_lock_or_a_clear_error(text: str) -> None:
    try:
        lock = parse_lock(text)
    except DataError as error:
        assert str(error).startswith("data.lock: ")
    else:
        assert parse_lock(lock_text(lock)) == lock


@pytest.mark.parametrize("name", [
    "", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a\nb", "a\x00", "\x1b[2J", "-rf", ".git",
    " a", "a ", "a\u2028b", "\ud800", "ä" * 101, "a:b", "*", "a+b"])
def test_a_hostile_name_is_refused(name: str) -> None:
    assert not is_fine(check_name, name)
    with pytest.raises(DataError):
        parse_lock(lock_text(Lock("", {name: Entry(name, "/x", SHA, 1, NOW)})))


@settings(max_examples=40)
@given(names)
def test_a_name_that_is_accepted_is_a_file_and_a_tag_of_mlflow(name: str) -> None:
    assert Path(name).name == name and is_accepted(f"data.{name}")


@pytest.mark.parametrize("address, why", [
    ("https://ann:secret@data.example/x", "password"), ("https://[x", "no address"),
    ("a\nb", "control"), ("\x1b[2J", "control"), ("", "empty")])
def test_a_hostile_address_is_refused(address: str, why: str) -> None:
    with pytest.raises(DataError, match=why) as refused:
        check_address(address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("wrong, why", [
    (f"[data]\n{LINE}{LINE}", "line 3"),
    (f"[data]\n<<<<<<< HEAD\n{LINE}=======\n", "line 2"),
    (f"[data]\n{LINE.replace(SHA, 'abc')}", "a.csv: sha256 must be 64 digits"),
    (f"[data]\n{LINE.replace('size = 1', 'size = true')}", "a.csv: size is of another type"),
    (f"[data]\n{LINE.replace('size = 1', 'size = -1')}", "negative"),
    (f"[data]\n{LINE.replace('size = 1, ', '')}", "must have address, sha256, size"),
    (f"[data]\n{LINE.replace('05Z', '05')}", "added is of another type"),
    ("[dat]\n", "nothing else"), ("data = 1\n", "nothing else"), ("store = 1\n", "nothing else")])
def test_a_wrong_line_is_named(wrong: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        parse_lock(wrong)


@settings(max_examples=40)
@given(st.lists(st.builds(File, paths, hashes, st.integers(0, 2**50)), max_size=9))
def test_a_manifest_comes_back_and_depends_on_no_order(files: list[File]) -> None:
    text = manifest_text(files)
    assert manifest_text(files[::-1]) == text or len({f.path for f in files}) < len(files)
    try:
        assert parse_manifest(text) == sorted(files, key=lambda file: file.path)
    except DataError as error:
        parts = [each.path for each in files]
        assert "twice" in str(error) and any(
            one == other or one.startswith(f"{other}/")
            for place, one in enumerate(parts) for other in parts[:place] + parts[place + 1:])


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", "./a", "a/", "a\x07", ""])
def test_a_path_that_leaves_the_folder_is_refused(path: str) -> None:
    with pytest.raises(DataError):
        manifest_text([File(path, SHA, 1)])
    with pytest.raises(DataError):
        parse_manifest(f"{SHA}  1  {path}\n".encode())


@settings(max_examples=40)
@given(st.binary())
def test_any_bytes_are_a_manifest_or_a_clear_error(text: bytes) -> None:
    try:
        parse_manifest(text)
    except DataError:
        pass


def test_git_merges_what_two_people_added(tmp_path: Path) -> None:
    def side(name: str, *added: str) -> Path:
        found = {each: Entry(each, f"/x/{each}", SHA, 1, NOW) for each in ("b", *added)}
        (tmp_path / name).write_text(lock_text(Lock("/store", found)))
        return tmp_path / name

    attributes = (LAB_FOLDER / ".gitattributes").read_text()
    assert "\ndata.lock merge=union\n" in attributes
    done = subprocess.run(["git", "merge-file", "-p", "--union", side("ours", "c"), side("base"),
                           side("theirs", "d", "a")], text=True, capture_output=True, check=True)
    assert [*parse_lock(done.stdout).entries] == ["a", "b", "c", "d"]
    assert tomllib.loads(done.stdout)["store"] == "/store"
