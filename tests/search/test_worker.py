import multiprocessing
import os
import random
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from taglab.search import Pruned
from taglab.search.messages import FAILED, Report, Reports, Task
from taglab.search.objective import read_result, takes_trial
from taglab.search.worker import run_trial, seed_imported_libraries


def test_numbers_are_metrics_and_files_and_figures_go_to_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "trial"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("kept")
    Path("old").mkdir()
    Path("old/notes.txt").write_text("another")
    (folder / "model.bin").write_text("written here")
    metrics = read_result(
        {"loss": np.float32(0.5), "epochs": 3, "notes": "notes.txt", "before": "old/notes.txt",
         "model": folder / "model.bin", "curve": Figure()}, ["loss"], folder)
    assert metrics == {"loss": 0.5, "epochs": 3.0}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {
        "notes.txt", "before/notes.txt", "model.bin", "curve.png"}
    assert Path("notes.txt").exists(), "what was returned is copied, not moved"


@pytest.mark.parametrize("result, wanted, metrics", [
    (-3, [], {"value": -3.0}),
    (np.float64(2), ["loss"], {"loss": 2.0}),
    ({"loss": 1}, [], {"loss": 1.0}),
    ({"a": 1, "b": float("nan")}, ["a"], {"a": 1.0, "b": pytest.approx(np.nan, nan_ok=True)}),
])
def test_a_training_function_returns_a_number_or_a_dict(tmp_path, result, wanted, metrics):
    assert read_result(result, wanted, tmp_path) == metrics


@pytest.mark.parametrize("result, wanted, message", [
    (None, [], "train returned None; return the number"),
    ({"a": 1, "b": 2}, [], "train returned a, b; name the metric to optimise: .*metric='a'"),
    ({}, [], "train returned no number; name the metric"),
    ({"a": 1}, ["b"], "train returned a, but not the metric 'b'"),
    (float("nan"), [], "train returned value=nan; .* finite number"),
    ({"a": float("inf")}, ["a"], "train returned a=inf"),
    ({"a": 1, "b": "gone/model.bin"}, ["a"], "train returned b='gone/model.bin', but there is no"),
    ({"a": [1, 2]}, ["a"], r"train returned a=\[1, 2\]; return a number"),
    ({"f1@10": 1}, [], "MLflow does not accept 'f1@10' as a name.*use 'f1_10'"),
])
def test_a_wrong_return_value_names_the_function_and_the_fix(tmp_path, result, wanted, message):
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        read_result(result, wanted, tmp_path)


def test_the_seed_sets_every_imported_generator():
    def draw():
        return random.random(), np.random.random()

    seed_imported_libraries(5)
    first = draw()
    os.urandom(1)
    assert draw() != first
    seed_imported_libraries(5)
    assert draw() == first


def test_pruned_passes_functions_that_catch_exceptions():
    assert not issubclass(Pruned, Exception)
    assert takes_trial(lambda a, trial: 1) and not takes_trial(lambda a: 1)


def reporting(x, trial):
    for step in (1, 2, 2, 3):
        trial.report(x * step, step)
        x += 1
    raise ValueError("the end")


@pytest.mark.parametrize("pause, sent", [(60, [{1: 5.0, 2: 12.0, 3: 24.0}]),
                                         (-1, [{1: 5.0}, {2: 12.0}, {2: 14.0}, {3: 24.0}])])
def test_without_a_pruner_reports_are_sent_now_and_then_and_those_of_a_failed_trial_too(
        tmp_path, monkeypatch, pause, sent):
    monkeypatch.setattr("taglab.search.worker.PAUSE", pause)
    assert messages_of(tmp_path, asks=False) == [Reports(values) for values in sent]


def test_a_pruner_hears_each_report_and_answers_it(tmp_path):
    assert messages_of(tmp_path, asks=True) == [
        Report(5.0, 1), Report(12.0, 2), Report(14.0, 2), Report(24.0, 3)]


def messages_of(folder, asks):
    """Return what a trial sends that fails after four reports, each answered beforehand."""
    ours, theirs = multiprocessing.Pipe()
    for _ in range(4):
        ours.send(False)
    saved = os.dup(1), os.dup(2)
    try:
        outcome = run_trial(reporting, {}, theirs, Task(0, {"x": 5}, folder, [], 0, {}, asks))
    finally:
        os.dup2(saved[0], 1), os.dup2(saved[1], 2)
    assert outcome.state == FAILED and "the end" in outcome.error
    messages = []
    while ours.poll():
        messages.append(ours.recv())
    return messages
