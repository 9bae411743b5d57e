from pathlib import Path

import mlflow
import numpy as np
import pytest
from lib.testing import artifacts, run_python, runs_in, store_in

from .svm import (
    accuracy_map, best_trial, cross_validate, grid, load_digits, make_classifier, split)

MAIN = Path(__file__).with_name("main.py")


def test_the_grid_holds_every_combination_once():
    assert grid(gamma=[1.0, 2.0], C=[3.0]) == [{"gamma": 1.0, "C": 3.0}, {"gamma": 2.0, "C": 3.0}]
    assert len(grid(gamma=[1.0, 2.0, 3.0], C=[1.0, 2.0])) == 6


def test_the_split_is_stratified_and_loses_nothing():
    images, digits = load_digits()
    X_train, X_test, y_train, y_test = split(images, digits, test_size=0.25, seed=0)
    rows = np.concatenate([X_train, X_test])
    assert rows.shape == (1797, 64) and np.isclose(rows.sum(), images.sum())
    assert np.bincount(y_test).min() > 40


def test_cross_validation_gives_the_same_number_for_the_same_seed_only():
    images, digits = load_digits()
    X, y = images.reshape(-1, 64)[:300], digits[:300]
    first, again, other = (
        cross_validate(make_classifier(0.001, 1.0), X, y, 3, seed) for seed in (0, 0, 1))
    assert first == again > 0.9
    assert first != other


def test_the_best_trial_is_the_first_of_equals_and_the_map_shows_all():
    trials = [{**point, "validation_accuracy": accuracy} for point, accuracy in zip(
        grid(gamma=[0.1, 0.2], C=[1.0, 2.0]), [0.7, 0.9, 0.9, 0.8])]
    assert best_trial(trials) is trials[1]
    assert accuracy_map(trials).loc[0.2, 1.0] == 0.9


def test_the_process_logs_a_run_per_point_and_tests_the_best(own_store):
    done = run_python(MAIN, "gamma=[0.001, 0.1]", "C=[1]", folder=own_store)
    assert done.returncode == 0, done.stderr
    client, [parent], nested = runs_in(own_store)
    assert [(run.info.run_name, run.info.status) for run in nested] == [
        ("gamma=0.001 C=1", "FINISHED"), ("gamma=0.1 C=1", "FINISHED")]
    good, bad = (run.data.metrics["validation_accuracy"] for run in nested)
    assert good == parent.data.metrics["validation_accuracy"] > 0.97 > bad
    assert parent.data.params["best_gamma"] == "0.001"
    assert {"sample_images.png", "grid.png", "trials.csv", "confusion_matrix.png"} <= artifacts(
        client, parent)

    mlflow.set_tracking_uri(store_in(own_store))
    [model] = client.search_logged_models([parent.info.experiment_id])
    _, X_test, _, y_test = split(*load_digits(), test_size=0.25, seed=0)
    accuracy = (mlflow.sklearn.load_model(model.model_uri).predict(X_test) == y_test).mean()
    assert accuracy == pytest.approx(parent.data.metrics["test_accuracy"]) and accuracy > 0.98
