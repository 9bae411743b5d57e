"""A pushed tag runs the examples; MLflow holds what came out."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.runner.conftest import wait_for

from .conftest import BakedLab

REACHED = {"sklearn_example": 0.95, "pytorch_example": 0.98, "svm_search": 0.98}
NESTED = {"sklearn_example": 7, "pytorch_example": 0, "svm_search": 20}


def processes(lab: BakedLab) -> list[str]:
    """Return the processes of this kind of lab."""
    return [name for name in REACHED if name != "pytorch_example" or lab.deep_learning != "none"]


def test_the_push_ends_with_a_table_of_metrics(lab: BakedLab) -> None:
    assert lab.build(1)["status"] == "success", lab.first_push
    for process in processes(lab):
        line = next(line for line in lab.first_push.splitlines()
                    if line.startswith(f"remote: {process} ") and "FINISHED" in line)
        assert "test_accuracy 0.9" in line or "test_accuracy 1" in line
    assert "MISSED" not in lab.first_push and "met" in lab.first_push
    assert "lab ui" in lab.first_push


def test_the_examples_reach_their_accuracy_with_what_is_known_of_each_run(lab: BakedLab) -> None:
    commit = lab.ok("git rev-parse run-examples-v1").strip()
    runs = lab.runs(build="1")
    assert {run["status"] for run in runs} == {"FINISHED"}
    assert all(run["tags"].items() >= {"commit": commit, "tag": "run-examples-v1",
                                       "dirty": "false"}.items() for run in runs)
    parents = {run["name"]: run for run in runs if run["parent"] is None}
    assert set(parents) == set(processes(lab))
    for name, run in parents.items():
        assert run["metrics"]["test_accuracy"] >= REACHED[name]
        assert sum(each["parent"] == run["id"] for each in runs) == NESTED[name]
        assert {"output.log", "versions.txt"} <= set(run["artifacts"])
        assert run["params"]["seed"] == "0"


def test_the_same_tag_gives_the_same_metrics_whatever_lies_in_the_folder(lab: BakedLab) -> None:
    config = lab.path / "lab/processes/svm_search/config.toml"
    before = config.read_text()
    config.write_text(before.replace("seed = 0", "seed = 7"))
    (lab.path / "lab/lib/viz.py").rename(lab.path / "lab/lib/viz.away")
    lab.ok("git tag run-examples-v2 run-examples-v1 && git push origin run-examples-v2")
    (lab.path / "lab/lib/viz.away").rename(lab.path / "lab/lib/viz.py")
    config.write_text(before)
    first, second = ([(run["name"], run["params"], run["metrics"]) for run in lab.runs(tag=tag)]
                     for tag in ("run-examples-v1", "run-examples-v2"))
    assert first == second and len(first) > 10


def test_by_hand_it_is_the_same_from_any_folder(lab: BakedLab, tmp_path: Path) -> None:
    main = lab.path / "lab/processes/sklearn_example/main.py"
    imports = lab.ok(f"cd {tmp_path} && python -X importtime {main}")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in imports.splitlines()}
    assert "sklearn" in imported and "torch" not in imported, "it takes seconds to import"
    python = lab.ok("python -c 'import mlflow, pathlib; "
                    "print(pathlib.Path(mlflow.__file__).parents[4])'").strip() + "/bin/python"
    assert "/.venv/" not in python  # another environment: it knows nothing of the lab
    lab.ok(f"cd / && {python} {main}", PYTHONPATH=f"{lab.path}/lab:{lab.path}/vendor")
    if lab.deep_learning == "pytorch":  # the README's way to choose a GPU
        choose = next(line for line in (lab.path / "README.md").read_text().splitlines()
                      if line.startswith("| choose a GPU"))
        lab.ok(choose.split("`")[1])
    runs = [run for run in lab.runs(process="sklearn_example") if run["parent"] is None]
    assert len(runs) >= 3 and all(run["metrics"] == runs[0]["metrics"] for run in runs)
    assert runs[-1]["tags"]["dirty"] == "false" and "build" not in runs[-1]["tags"]
    assert not list(tmp_path.iterdir())


def test_without_pytorch_nothing_of_it_is_there(lab: BakedLab) -> None:
    installed = lab.sh("python -c 'import torch'").returncode == 0
    assert installed == (lab.deep_learning == "pytorch")
    if lab.deep_learning == "none":
        assert not (lab.path / "lab/processes/pytorch_example").exists()
        named = lab.sh("git grep -lE '^(import|from) torch|torch==|pytorch_example' -- ':!vendor'")
        assert named.stdout == ""


def test_its_own_checks_pass_and_leave_nothing_behind(lab: BakedLab) -> None:
    if lab.deep_learning == "pytorch":
        shown = lab.ok("python -m flake8 && python -m pytest -q")
        assert "skipped" not in shown, "the goals are judged by the lab's own runs"
    else:  # the same by a push to a branch
        shown = lab.ok("git push origin main")
        assert "+ python -m flake8" in shown
    assert " passed" in shown and "failed" not in shown
    assert lab.ok("git status --porcelain") == ""


def test_goals_judge_the_newest_runs(lab: BakedLab) -> None:
    assert lab.ok("lab goals").count("met ") == len(processes(lab))
    goals = lab.path / "goals/goals.toml"
    before = goals.read_text()
    goals.write_text(before.replace("0.98", "0.9999"))
    missed, as_json = lab.sh("lab goals"), lab.sh("lab goals --json 2>/dev/null")
    goals.write_text(before)
    assert missed.returncode == 1 and "MISSED" in missed.stdout and "less than" in missed.stdout
    assert as_json.returncode == 1 and "less than" in json.loads(as_json.stdout)[-1]["reason"]


def test_a_new_process_is_green_at_once(lab: BakedLab) -> None:
    lab.ok("lab new predict_price")
    lab.ok("python -m flake8 && python -m pytest -q lab/processes/predict_price")
    with (lab.path / "goals/goals.toml").open("a") as goals:
        goals.write('\n[[goal]]\nprocess = "predict_price"\nmetric = "test_r2"\nat_least = 0.2\n')
    lab.ok("git add -A && git commit -qm 'Add predict_price'")
    shown = lab.push("predict-price-v1")
    assert "met     predict_price: test_r2 at least 0.2" in shown and "svm_search" not in shown
    shutil.copytree(lab.path / "lab/processes/predict_price", lab.path / "lab/processes/copied")
    shown = lab.ok("python -m pytest -q lab/processes/predict_price lab/processes/copied")
    assert "4 passed" in shown
    lab.ok("rm -r lab/processes/copied && git reset -q --hard HEAD~1")


def test_runs_of_a_runner_that_was_killed_end_as_killed(lab: BakedLab) -> None:
    def running() -> int:
        with contextlib.closing(sqlite3.connect(lab.path / "mlflow.db")) as database:
            [(count,)] = database.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'")
        return count

    lab.ok("git tag sklearn-example-v1 && (git push -q origin sklearn-example-v1 &> /dev/null &)")
    wait_for(lambda: running() > 1)  # a run and one nested in it
    number = max(int(path.name) for path in (lab.path / ".lab/builds").iterdir())
    os.kill(int((lab.path / f".lab/builds/{number}/held").read_text()), signal.SIGKILL)
    wait_for(lambda: "error: interrupted" in lab.ok("lab builds").splitlines()[1])
    runs = lab.runs(build=str(number))
    assert running() == 0 and {run["status"] for run in runs} <= {"KILLED", "FINISHED"}
    assert [run["status"] for run in runs if run["parent"] is None] == ["KILLED"]
    assert f"build {number + 1}" in lab.ok(f"lab restart {number}")
    assert {run["status"] for run in lab.runs(build=str(number + 1))} == {"FINISHED"}


def test_results_are_found_after_the_lab_was_moved(lab: BakedLab) -> None:
    moved = lab.path.rename(lab.path.with_name("moved here"))
    try:
        found = BakedLab(moved)
        run = found.runs(tag="run-examples-v1", process="sklearn_example")[0]
        assert "leaderboard.png" in run["artifacts"]
        assert "predictions" in found.ok(
            "python -c 'import mlflow; from taglab.tracking import connect; connect(); "
            "model = mlflow.search_logged_models(output_format=\"list\")[0]; "
            "print(\"predictions\", mlflow.pyfunc.load_model(model.model_uri))'")
        assert "moved here" in found.ok("lab builds && pwd")
    finally:
        moved.rename(lab.path)


@pytest.mark.parametrize("typed", ["fold=5", "folds=many", "folds"])
def test_a_wrong_parameter_is_one_clear_error(lab: BakedLab, typed: str) -> None:
    done = lab.sh(f"python lab/processes/svm_search/main.py {typed}")
    assert done.returncode == 3 and "folds" in done.stdout and "Traceback" not in done.stdout
