"""A tag's runs against those that it made again, in two real stores."""
from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from taglab.results import NoResults
from taglab.results.command import main
from taglab.results.files import Interpreter
from taglab.results.receipt import Receipt
from taglab.results.verify import originals, verify
from taglab.testing import runs_in, store_in
from taglab.tracking import start_run
from tests.results.conftest import Git

ROWS = np.array([[0.0], [1.0]])
Log = Callable[..., None]


@pytest.fixture
def log(git: Git, own_store: Path, empty_store: Path, monkeypatch) -> Log:
    """Return a function that logs a run of the tag wine-v1 to the store in a folder."""
    git("tag", "wine-v1")
    commit = git("rev-parse", "HEAD")

    def run(folder: Path = own_store, score: float = 0.5, text: str = "1,2\n",
            **models: tuple[float, bool]) -> None:
        folder.mkdir(exist_ok=True)
        if not (folder / "mlflow.db").exists():
            shutil.copy(empty_store, folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in(folder))
        for name, value in {"TAG": "wine-v1", "COMMIT_SHA": commit, "BUILD_NUMBER": "1"}.items():
            monkeypatch.setenv(f"DRONE_{name}", value)
        with start_run("wine/main.py", {"seed": 0}):
            mlflow.log_metrics({"score": score, "fit_time": np.random.rand()})
            mlflow.log_text(text, "table.csv")
            for name, (slope, has_example) in models.items():
                model = LinearRegression().fit(ROWS, slope * ROWS)
                model.stored_in = str(folder)  # other bytes, and the same predictions
                mlflow.sklearn.log_model(
                    model, name=name, serialization_format="pickle", pip_requirements=[],
                    input_example=ROWS if has_example else None)
            with mlflow.start_run(run_name="part", nested=True):
                mlflow.log_metric("score", score)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in(own_store))
    return run


@pytest.fixture
def again(lab_folder: Path, tmp_path: Path) -> Callable[..., Receipt]:
    """Return a function that compares the tag with the runs in the store of a folder."""
    def compare(folder: Path, build: str = "success") -> Receipt:
        return verify(lab_folder, "wine-v1", store_in(folder), build, "success", 1e-6,
                      Interpreter(sys.executable, lab_folder), tmp_path / "receipt.json")
    return compare


def test_the_same_numbers_leave_a_receipt_and_tags_on_the_first_runs(
        log: Log, again, own_store: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    log()
    log(second)
    receipt = again(second)
    assert receipt.verdict == "same"
    told = json.loads((tmp_path / "receipt.json").read_text())
    assert (told["outcome"], told["tag"], told["machine"]["python"]) == (
        "same", "wine-v1", "{}.{}.{}".format(*sys.version_info[:3]))
    assert [run["run"] for run in told["runs"]] == ["wine", "wine: part"]
    assert told["runs"][0]["same"] == {
        "status": 1, "parameter": 1, "metric": 1, "artifact": 1}
    assert {each["name"] for each in told["runs"][0]["findings"]} == {
        "fit_time", "output.log", "versions.txt"}
    _, [parent], [nested] = runs_in(own_store)
    assert parent.data.tags["verified"] == "same" and "verified" not in nested.data.tags
    assert parent.data.tags["verified_at"] == receipt.when
    assert not [run for run in runs_in(second)[1] if "verified" in run.data.tags]


def test_a_metric_that_differs_is_named_with_both_values(log: Log, again, tmp_path, own_store):
    second = tmp_path / "second"
    log()
    log(second, score=0.75, text="1,3\n")
    found = {each.name: each for each in again(second).runs[0].findings}
    assert (found["score"].old, found["score"].new) == (0.5, 0.75)
    assert (found["table.csv"].outcome, found["table.csv"].reason) == ("differs", "other bytes")
    said = runs_in(own_store)[1][0].data.tags["verified"]
    assert said.startswith("differs: wine, metric score: 0.5 then, 0.75 now") and "more" in said


def test_models_of_other_bytes_are_compared_by_their_predictions(
        log: Log, again, tmp_path: Path) -> None:
    second = tmp_path / "second"
    log(like=(2.0, True), steeper=(2.0, True), blind=(2.0, False), gone=(2.0, False))
    log(second, like=(2.0, True), steeper=(4.0, True), blind=(2.0, False))
    found = {each.name: each for each in again(second).runs[0].findings if each.kind == "model"}
    assert "like" not in found, "it is the same"
    assert (found["steeper"].outcome, found["steeper"].by) == ("differs", 0.5)
    assert found["blind"].outcome == "not compared" and "input_example" in found["blind"].reason
    assert found["gone"].reason == "only the old run has it"


def test_a_build_that_made_no_runs_differs_even_without_a_store(
        log: Log, again, tmp_path: Path) -> None:
    log()
    receipt = again(tmp_path / "nowhere", build="error")
    assert receipt.outcome == "differs" and "the build ended error" in receipt.verdict
    assert not (tmp_path / "nowhere").exists()


def test_what_cannot_be_run_again_is_told_before_anything_runs(
        log: Log, git: Git, lab_folder: Path, own_store: Path, capsys) -> None:
    log()
    assert [each.tag for each in originals(lab_folder)] == ["wine-v1"]
    client, [parent], _ = runs_in(own_store)
    client.set_tag(parent.info.run_id, "dirty", "true")
    with pytest.raises(NoResults, match="wine-v1 cannot be verified: it ran with uncommitted"):
        originals(lab_folder, ["wine-v1"])
    assert originals(lab_folder) == []
    client.set_tag(parent.info.run_id, "dirty", "false")
    client.set_terminated(parent.info.run_id, "FAILED")
    assert originals(lab_folder) == [] and originals(lab_folder, ["wine-v1"])
    assert main(["originals", "wine-v2"]) == 3
    assert "the nearest are wine-v1" in capsys.readouterr().err
