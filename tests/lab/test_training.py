"""Trainings that are killed and resumed, and trainings that several processes share."""
from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.runner.conftest import wait_for

from .conftest import BakedLab, bake

METRICS = ["loss", "accuracy", "val_loss", "val_accuracy"]
STATE = ".lab/state/training"

# Each process writes the history and a sum of the weights to a file: for tensors and a Dataset,
# with a small last batch, with accumulation, and with parts that two processes cannot share evenly.
# To another file it writes the names of the threads that are left when it exits.
SHARED = """
import atexit
import json
import os
import sys
from functools import partial
from pathlib import Path
import torch
from taglab.training import accuracy, evaluate, fit
from torch.nn.functional import cross_entropy

folder, name = Path(sys.argv[1]), os.environ.get("RANK", "alone")

def write_threads():
    tasks = Path("/proc/self/task").iterdir()
    names = [(task / "comm").read_text().strip() for task in tasks]
    (folder / f"{name}.threads").write_text(json.dumps(names))

atexit.register(write_threads)  # before fit registers anything, so it is called last
torch.manual_seed(0)
points, classes = torch.randn(101, 4), torch.randint(3, (101,))
held = points[:33] + 1, classes[:33]
even = points[:100], classes[:100]  # with 101, two processes leave one out
figures = []
for data, accumulate in ((even, 1), (even, 3), (list(zip(*even)), 1)):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    done = fit(model, data, held, loss=cross_entropy, metrics={"accuracy": accuracy}, epochs=3,
               optimizer=partial(torch.optim.Adam, lr=0.01), batch_size=16, accumulate=accumulate,
               device="cpu", clip=1.0)
    tested = evaluate(model, held, loss=cross_entropy)
    weights = sum(part.abs().sum().item() for part in model.parameters())
    figures.append([*done.history.to_numpy().ravel(), tested["loss"], weights])
(folder / f"{name}.figures").write_text(json.dumps(figures))
"""
# The second process finds a bad sample, and the run must not end FINISHED.
FAILING = """
from functools import partial
import os
import torch
from taglab.tracking import start_run
from taglab.training import fit
data = torch.ones(64, 2), torch.ones(64, 1)
def loss(output, target):
    if os.environ["RANK"] == "1":
        raise ValueError("a bad sample")
    return (output - target).square().mean()
with start_run("failing/main.py", {}):
    fit(torch.nn.Linear(2, 1), data, data, loss=loss, epochs=2, device="cpu",
        optimizer=partial(torch.optim.SGD, lr=0.1))
"""

SEARCH = """
import torch
from taglab.training.components import combinations, train
from taglab.search import search
from taglab.tracking import start_run

def data(seed):
    points = torch.randn(60, 2, generator=torch.Generator().manual_seed(seed))
    return points, (points.sum(1) > 0).long()

def network(input_shape, output_shape, hidden):
    return torch.nn.Sequential(torch.nn.Linear(*input_shape, hidden), torch.nn.ReLU(),
                               torch.nn.Linear(hidden, *output_shape))

if __name__ == "__main__":
    config = {"dataset": {"class": "combined:data", "train": {"seed": 0},
                          "validation": {"seed": 1}},
              "model": [{"class": "combined:network", "hidden": n} for n in (1, 4)],
              "training": {"loss": "torch.nn:CrossEntropyLoss", "epochs": 3, "device": "cpu",
                           "optimizer": {"class": "torch.optim:Adam", "lr": 0.1}}}
    with start_run(__file__, config):
        search(train, combinations(config), method="list", metric="best_val_loss",
               direction="minimize", skip_finished=True)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> BakedLab:
    """A lab whose pytorch_example trains long enough to be killed."""
    made = bake(tmp_path_factory.mktemp("training"))
    made.ok("python3 vendor/taglab init")
    config = made.path / "lab/processes/pytorch_example/config.toml"
    config.write_text(config.read_text().replace("epochs = 20", "epochs = 40"))
    made.ok("git commit -qam 'Train longer'")
    return made


def trained(lab: BakedLab, tag: str) -> dict[str, float]:
    """Return the metrics of the newest run of a tag, which must have finished."""
    run = lab.runs(tag=tag)[-1]
    assert run["status"] == "FINISHED"
    return run["metrics"]


def test_a_killed_training_resumes_when_its_build_is_restarted(lab: BakedLab) -> None:
    lab.push("pytorch-example-v1")
    whole = trained(lab, "pytorch-example-v1")
    assert not list((lab.path / STATE).iterdir()), "a finished training leaves no checkpoint"

    lab.ok("git tag pytorch-example-v2 && "
           "(git push -q origin pytorch-example-v2 &> /dev/null &)")
    wait_for(lambda: any((lab.path / STATE).glob("*.pt")))
    [process] = processes("lab/processes/pytorch_example/main.py", lab.path)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: lab.build(2)["status"] not in ("pending", "running"))
    assert lab.build(2)["status"] != "success"
    shown = lab.ok("lab restart 2")
    assert "resuming after epoch" in shown and "epoch  40" in shown
    assert trained(lab, "pytorch-example-v2") == whole
    assert not list((lab.path / STATE).iterdir())


def processes(command: str, lab: Path) -> list[int]:
    """Return the ids of the Python processes of this lab with a word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            inside = (folder / "cwd").resolve().is_relative_to(lab)
        except OSError:
            continue
        if inside and command in words and Path(words[0]).name.startswith("python"):
            found.append(int(folder.name))
    return found


def test_two_processes_give_the_same_training_as_one(lab: BakedLab, tmp_path: Path) -> None:
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    lab.ok(f"python {script} {tmp_path}")
    lab.ok(f"torchrun --standalone --nproc-per-node=2 {script} {tmp_path}")

    def read(name: str) -> list:
        return json.loads((tmp_path / name).read_text())

    alone = read("alone.figures")
    assert len(alone) == 3
    for rank in "01":
        assert read(f"{rank}.figures") == [pytest.approx(one, rel=1e-4) for one in alone]
        # A thread of the group that frees a tensor after Python has gone aborts the process.
        assert not [name for name in read(f"{rank}.threads") if "gloo" in name]


def test_torchrun_makes_one_run(lab: BakedLab) -> None:
    shown = lab.ok("torchrun --standalone --nproc-per-node=2 "
                   "lab/processes/pytorch_example/main.py epochs=3 channels=4")
    [run] = [run for run in lab.runs() if run["params"].get("epochs") == "3"]
    assert run["status"] == "FINISHED" and {*METRICS} <= {*run["metrics"]}
    assert {"model.pt", "training_history.csv", "confusion_matrix.png"} <= {*run["artifacts"]}
    assert shown.count("epoch   3") == shown.count("test_accuracy") == 1
    assert run["parent"] is None and run["name"] == "pytorch_example"


def test_a_failing_process_of_torchrun_fails_the_run(lab: BakedLab, tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    done = lab.sh(f"torchrun --standalone --nproc-per-node=2 {script}")
    assert done.returncode != 0 and "a bad sample" in done.stdout
    assert lab.runs(process="failing")[-1]["status"] in ("FAILED", "KILLED")


def test_a_search_tries_all_combinations_and_skips_finished_ones(lab: BakedLab) -> None:
    folder = lab.path / "lab/processes/combined"
    folder.mkdir()
    (folder / "combined.py").write_text(SEARCH)
    for _ in range(2):
        lab.ok(f"python {folder}/combined.py", PYTHONPATH=str(folder))
    runs = lab.runs(process="combined")
    assert [run["status"] for run in runs] == ["FINISHED"] * 4  # two searches, two trials
    trials = [run for run in runs if run["parent"]]
    assert len(trials) == 2
    # The metrics of the best epoch, and those that were logged after each epoch.
    assert all(run["metrics"].keys() >= {"best_val_loss", "val_loss"} for run in trials)
