"""A full disk is named, and nothing is half made: the store and the outbox."""
from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.full_disk import run_on_small_disk
from tests.runner.conftest import SOURCE

TRAIN = """
import sys
from pathlib import Path
from taglab.tracking import start_run
import mlflow
with start_run(Path(sys.argv[1], "lab/processes/p/main.py"), {"a": 1}):
    mlflow.log_metric("before", 1.0)
    with open(Path(sys.argv[2], "fill"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for step in range(3000):
        mlflow.log_metric("loss", step, step=step)
"""
CREATE = """
import sys
from pathlib import Path
from taglab.tracking.store import full_disk_named, prepare
database = Path(sys.argv[1], "mlflow.db")
with full_disk_named(database):
    prepare(database)
"""
KEEP = """
import sys
from pathlib import Path
from taglab.tracking.outbox import Call, Outbox
outbox = Outbox(Path(sys.argv[1], "outbox"))
kept = 0
try:
    while True:
        outbox.keep(Call("LogParam", "x" * 3000))
        kept += 1
except OSError as error:
    print(kept, error.strerror)
"""


def test_a_full_disk_under_the_store_is_named_and_the_store_stays_whole(
        tmp_path: Path, empty_store: Path, lab_folder: Path) -> None:
    small = tmp_path / "small"
    check = ("import sqlite3; store = sqlite3.connect('mlflow.db'); print("
             "store.execute('pragma integrity_check').fetchall(), "
             "store.execute('select key from metrics where key = \"before\"').fetchall())")
    done = run_on_small_disk(
        small, "6m", f'cp {empty_store} {small} && cd {small} && '
        f'{{ {sys.executable} -c "$CODE" {lab_folder} {small}; rm fill; '
        f'{sys.executable} -c "$CHECK"; }}', CODE=TRAIN, CHECK=check, PYTHONPATH=str(SOURCE),
        MLFLOW_TRACKING_URI=f"sqlite:///{small}/mlflow.db", LAB_ROOT=str(lab_folder))
    assert done.stderr.splitlines()[-1] == (
        f"error: the disk is full, so {small}/mlflow.db could not be written. What was written "
        "before is whole. Make space, then run it again"), done.stderr
    assert done.stdout.splitlines()[-1] == "[('ok',)] [('before',)]"


def test_a_full_disk_leaves_no_half_store(tmp_path: Path) -> None:
    done = run_on_small_disk(tmp_path / "small", "200k",
                             f'{sys.executable} -c "$CODE" {tmp_path}/small; ls {tmp_path}/small',
                             CODE=CREATE, PYTHONPATH=str(SOURCE))
    assert done.stderr.splitlines()[-1].startswith("error: the disk is full, so "), done.stderr
    assert done.stdout.split() == ["mlflow.db.lock"]


def test_a_full_disk_leaves_no_half_line_in_the_outbox(tmp_path: Path) -> None:
    small = tmp_path / "small"
    done = run_on_small_disk(small, "100k", f'{sys.executable} -c "$CODE" {small} && '
                             f"cat {small}/outbox/calls.jsonl", CODE=KEEP, PYTHONPATH=str(SOURCE))
    first, *lines = done.stdout.split("\n")
    assert first == f"{len(lines) - 1} No space left on device" and len(lines) > 10, done.stderr
    assert {len(json.loads(line)["body"]) for line in lines[:-1]} == {3000} and lines[-1] == ""
