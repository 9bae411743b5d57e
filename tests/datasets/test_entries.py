"""Adding, getting and sending data: with real files, processes and a web server."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from taglab.datasets.lock import Lock, read_lock
from taglab.datasets.objects import Cache
from tests.full_disk import run_on_small_disk
from tests.runner.conftest import wait_for

from .conftest import DataLab, Web, make_lab

READ = "from taglab.datasets import path\nprint(path({name!r}))"


def path_of(lab: DataLab, name: str) -> Path:
    """Return what `taglab.datasets.path` returns in a process of the lab."""
    done = subprocess.run([*lab.command()[:1], "-c", READ.format(name=name)], cwd=lab.path,
                          env=lab.variables(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def second(lab: DataLab) -> DataLab:
    """Return another clone with an empty cache."""
    clone = make_lab(lab.path.parent / "second", lab.path.parent / "second-cache")
    shutil.copy(lab.path / "data.lock", clone.path)
    return clone


def test_a_file_reaches_a_second_clone_through_a_store(lab: DataLab, tmp_path: Path) -> None:
    source, store = tmp_path / "prices.csv", tmp_path / "store"
    source.write_bytes(b"day,price\n1,2\n")
    assert "only on this machine until you type: lab data push --store" in lab.ok("add", source)
    assert "only on this machine: type lab data push" in lab.ok("status")
    assert "names no store" in lab.error("push")
    assert f"sent to {store}" in lab.ok("push", "--store", store)
    assert "is there" in lab.ok("push")
    assert lab.ok("status").endswith("here and in the store\n")
    source.unlink()
    clone = second(lab)
    assert "missing: type lab data get 'prices.csv'" in clone.ok("status")
    found = path_of(clone, "prices.csv")
    assert (found.name, found.read_bytes()) == ("prices.csv", b"day,price\n1,2\n")
    assert "here" in clone.ok("get") and clone.ok("status").endswith("here and in the store\n")


def test_without_a_store_the_error_names_the_data_the_address_and_what_to_type(
        lab: DataLab, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("x")
    lab.ok("add", tmp_path / "prices.csv", "--name", "p")
    (tmp_path / "prices.csv").unlink()
    line = second(lab).error("get")
    assert line.startswith(f"Error: p cannot be had: {tmp_path}/prices.csv: ")
    assert "No such file" in line and line.endswith("type: lab data push\n")


def test_of_a_folder_only_changed_files_are_sent_and_received(
        lab: DataLab, tmp_path: Path) -> None:
    folder, store = tmp_path / "images", tmp_path / "store"
    for number in range(30):
        (folder / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (folder / str(number % 3) / f"{number} ä.txt").write_text(f"image {number}")
    assert "in 30 files" in lab.ok("add", folder)
    lab.ok("push", "--store", store)
    clone = second(lab)
    clone.ok("get")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    (folder / "0" / "0 ä.txt").write_text("another")
    (folder / "1" / "1 ä.txt").unlink()
    assert lab.ok("status").endswith(f"its address {folder}: changed\n")
    assert "in 29 files" in lab.ok("add", folder)
    lab.ok("push")
    after = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert before.items() <= after.items() and len(after) == len(before) + 2  # and its manifest
    shutil.copy(lab.path / "data.lock", clone.path)
    shutil.rmtree(folder)
    kept = {path.name: path.stat().st_ino for path in clone.objects()}
    found = path_of(clone, "images")
    assert kept.items() <= {path.name: path.stat().st_ino for path in clone.objects()}.items()
    files = {path.relative_to(found).as_posix(): path.read_text() for path in found.rglob("*.txt")}
    assert len(files) == 29 and files["0/0 ä.txt"] == "another" and files["2/5 ä.txt"] == "image 5"


def test_what_a_process_changes_is_found_and_received_again(lab: DataLab, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / "images" / name).write_text(f"right {name}")
    lab.ok("add", tmp_path / "images")
    lab.ok("push", "--store", tmp_path / "store")
    found = path_of(lab, "images")
    assert (found / "a").stat().st_mode & 0o222 == 0
    (found / "a").chmod(0o644)
    (found / "a").write_text("wrong a")  # as long as before
    (found / "more").write_text("of nobody")
    (found / "b").unlink()
    assert "missing" in lab.ok("status")
    assert path_of(lab, "images") == found
    right = {"a": "right a", "b": "right b"}
    assert {path.name: path.read_text() for path in found.iterdir()} == right
    (found / "more").write_text("of nobody")
    assert {path.name: path.read_text() for path in path_of(lab, "images").iterdir()} == right


def test_a_copy_of_the_cache_that_lost_its_times_is_read_and_used(
        lab: DataLab, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("content")
    lab.ok("add", tmp_path / "x")
    for path in lab.objects():
        os.utime(path)
    (tmp_path / "x").unlink()
    assert path_of(lab, "x").read_text() == "content"


def test_a_download_that_is_cut_off_goes_on_where_it_was(lab: DataLab, web: Web) -> None:
    web.content = os.urandom(3 << 20)
    web.stops_after = [1, 1 << 20, 1 << 20]  # the first answer is asked for its version alone
    lab.ok("add", f"{web.address}?version=2")
    assert web.ranges == ["", "", f"bytes={1 << 20}-", f"bytes={2 << 20}-"]
    entry = read_lock(lab.path).entry("prices.csv")
    assert entry.sha256 == hashlib.sha256(web.content).hexdigest() and entry.size == 3 << 20
    assert lab.ok("status").endswith(" here\n")
    assert not list((lab.cache / "parts").iterdir())


def test_a_killed_download_leaves_nothing_half_done_and_goes_on(lab: DataLab, web: Web) -> None:
    web.content = os.urandom(4 << 20)
    lab.ok("add", web.address)
    clone, web.pause = second(lab), 0.02
    started = subprocess.Popen(clone.command("get"), cwd=clone.path, env=clone.variables())
    wait_for(lambda: any(path.stat().st_size for path in clone.objects()))
    started.send_signal(signal.SIGKILL)
    started.wait()
    [part] = clone.objects()
    assert part.parent.name == "parts" and "missing" in clone.ok("status")
    received, web.pause = part.stat().st_size, 0
    clone.ok("get")
    assert web.ranges[-1] == f"bytes={received}-"
    assert [path.read_bytes() for path in clone.objects()] == [web.content]


def test_a_part_of_something_else_does_not_spoil_a_download(lab: DataLab, web: Web) -> None:
    web.content = os.urandom(1 << 20)
    lab.ok("add", web.address)
    clone = second(lab)
    (clone.cache / "parts").mkdir(parents=True)
    (clone.cache / "parts" / read_lock(lab.path).entry("prices.csv").sha256).write_bytes(b"wrong")
    clone.ok("get")
    assert path_of(clone, "prices.csv").read_bytes() == web.content


def test_other_data_at_an_address_is_refused_and_status_tells(lab: DataLab, web: Web) -> None:
    web.content = b"first"
    lab.ok("add", web.address)
    web.content = b"other"
    clone = second(lab)
    assert "holds other data than the commit names" in clone.error("get")
    assert not clone.objects()
    web.content = b"longer than before"
    assert "holds other data than the commit names" in clone.error("get")
    assert lab.ok("status").endswith(f"here; its address {web.address}: changed\n")


def test_processes_that_want_the_same_data_receive_it_once(lab: DataLab, web: Web) -> None:
    web.content = os.urandom(1 << 20)
    lab.ok("add", web.address)
    clone, web.pause = second(lab), 0.02
    web.ranges.clear()
    started = [subprocess.Popen(clone.command("get"), cwd=clone.path, env=clone.variables())
               for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert web.ranges == [""] and len(clone.objects()) == 1


def test_a_full_disk_is_named_and_nothing_half_is_left(lab: DataLab, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(3 << 20))
    lab.ok("add", tmp_path / "large")
    clone = second(lab)
    before = (clone.path / "data.lock").read_text()
    get, add = (" ".join(clone.command(*words)) for words in (
        ["get"], ["add", tmp_path / "large", "--name", "other"]))
    done = run_on_small_disk(
        clone.cache, "1m", f"cd {clone.path}; {get}; echo $?; find {clone.cache} -type f; "
        f"{add}; echo $?; find {clone.cache} -type f",
        **{name: clone.variables()[name] for name in ("LAB_DATA", "PYTHONPATH")})
    assert done.stdout.split() == ["1", "1"]
    for line in done.stderr.splitlines():
        assert line.startswith(f"Error: the cache of data, {clone.cache}, cannot be written: "
                               "the disk is full (No space left on device)")
    assert done.stderr.count("\n") == 2 and (clone.path / "data.lock").read_text() == before


def test_what_cannot_be_added_is_refused_in_a_sentence(lab: DataLab, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "holds no file" in lab.error("add", folder)
    (folder / "loop").symlink_to(folder)
    assert "loop is no file" in lab.error("add", folder)
    (folder / "loop").unlink()
    os.mkfifo(folder / "pipe")
    assert "pipe is no file" in lab.error("add", folder)
    (folder / "pipe").unlink()
    (folder / "a\nb").touch()
    assert "control character" in lab.error("add", folder)
    assert "No such file" in lab.error("add", tmp_path / "nothing")
    (tmp_path / "x").touch()
    assert "cannot be a name of data" in lab.error("add", tmp_path / "x", "--name", "../x")
    assert "a folder; only a folder of this machine" in lab.error("add", "s3://bucket/x/")
    assert "password" in lab.error("add", "https://ann:secret@data.example/x")
    assert "lab add fsspec" in lab.error("add", "gs://bucket/x")
    assert "does not name 'y'" in lab.error("get", "y")
    assert not (lab.path / "data.lock").exists()


def test_a_path_in_the_lab_stays_right_when_the_lab_moves(lab: DataLab) -> None:
    (lab.path / "raw").mkdir()
    (lab.path / "raw" / "x").write_text("content")
    lab.ok("add", lab.path / "raw" / "x")
    assert read_lock(lab.path).entry("x").address == "raw/x"
    assert "as it was" in lab.ok("add", lab.path / "raw" / "x")
    (lab.path / "raw" / "x").write_text("CONTENT")  # as long as before
    assert lab.ok("status").endswith("its address raw/x: changed\n")
    (lab.path / "raw" / "x").write_text("content")
    assert "its address" not in lab.ok("status")
    lab.path = lab.path.rename(lab.path.with_name("moved"))
    shutil.rmtree(lab.cache)
    lab.ok("get")


def test_other_addresses_go_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    from datetime import datetime, timezone

    from taglab.datasets.entries import add, have, push
    from taglab.datasets.places import place_at
    fsspec.filesystem("memory").pipe_file("/far/x", b"content")
    cache, now = Cache(tmp_path / "cache"), datetime.now(timezone.utc)
    entry = add(tmp_path, Lock(), cache, "memory://far/x", "", now)
    lock = Lock("memory://store", {"x": entry})
    assert push(cache, place_at(lock.store, tmp_path), [entry]) == 7
    fsspec.filesystem("memory").rm("/far/x")
    assert have(tmp_path, lock, Cache(tmp_path / "other"), [entry]) == 7


def test_json_has_the_state_of_each(lab: DataLab, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("content")
    lab.ok("add", tmp_path / "x")
    assert re.sub(r"\s+", " ", lab.ok("status", "--json")) == (
        '[ { "name": "x", "size": 7, "files": 0, "here": true, "stored": false, '
        f'"address": "as added", "source": "{tmp_path}/x" }} ] ')
