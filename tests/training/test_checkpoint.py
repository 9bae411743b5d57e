"""A checkpoint is whole, or the one before it stays."""
from __future__ import annotations

import sys
from pathlib import Path

from tests.full_disk import run_on_small_disk
from tests.runner.conftest import SOURCE

SAVE = """
import os
from taglab.tracking.context import tagged_runs
from taglab.training.checkpoint import Checkpoint
import torch
os.chdir(os.environ["LAB_ROOT"])
with tagged_runs({"process": "p", "dirty": "false"}):
    checkpoint = Checkpoint("identity")
    checkpoint.save_if_due(lambda: {"weights": torch.ones(10)})
    for size in (2_000_000, 300_000):
        checkpoint._next_save = 0.0
        checkpoint.save_if_due(lambda: {"weights": torch.zeros(size)})
        print(os.listdir("/".join(checkpoint._path.split("/")[:-1])) ==
              [checkpoint._path.split("/")[-1]], len(checkpoint.load()["weights"]))
"""


def test_on_a_full_disk_the_training_goes_on_and_its_last_checkpoint_stays(
        tmp_path: Path, lab_folder: Path) -> None:
    small = tmp_path / "small"
    done = run_on_small_disk(small, "3m", f'{sys.executable} -c "$CODE"', CODE=SAVE,
                             LAB_ROOT=str(lab_folder), LAB_STATE=str(small),
                             PYTHONPATH=str(SOURCE))
    assert done.returncode == 0, done.stderr
    [warning] = done.stderr.splitlines()
    assert warning.startswith(f"warning: the disk is full, so {small}/training/p-")
    assert done.stdout == "True 10\nTrue 300000\n"  # and it is saved again once there is room


def test_a_training_resumes_under_the_same_parameters_of_a_tag_alone() -> None:
    from taglab.training.checkpoint import _digest
    known = {"process": "p", "commit": "abc", "dirty": "false"}
    names = [_digest({**known, "tag": tag}, "identity")
             for tag in ("p-v1", "p-v2", "p-v1.p0123abcd", "p-v1.p0123abce")]
    assert names[0] == names[1] and len({*names}) == 3
