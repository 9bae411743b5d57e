import mlflow
import numpy as np
import pytest
from taglab.testing import artifacts, runs_in, store_in

from .svm import (
    cross_validate, load_digits, make_classifier, parameter_set, search_space, split)


def test_a_grid_has_the_values_and_all_else_a_range_between_them():
    assert search_space("grid", [0.1, 0.2], [1.0]) == {"gamma": [0.1, 0.2], "C": [1.0]}
    gamma = search_space("random", [0.1, 0.2], [1.0, 10.0], trials=3)["gamma"]
    assert (gamma.low, gamma.high, gamma.log) == (0.1, 0.2, True)


def test_the_configuration_names_one_of_its_tables():
    config = {"parameters": "small", "seed": 0, "small": {"C": [1.0]}, "large": {"C": [2.0]}}
    assert parameter_set(config) == {"C": [1.0]}
    with pytest.raises(SystemExit, match="parameters is 'smal'; it must be one of small, large"):
        parameter_set(config | {"parameters": "smal"})


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
    assert first == again < 0.1
    assert first != other


def test_the_process_logs_a_run_per_trial_and_tests_the_best(svm_search_store, monkeypatch):
    client, [parent], nested = runs_in(svm_search_store)
    assert [(run.info.run_name, run.info.status) for run in nested] == [
        ("0 gamma=0.001 C=1", "FINISHED"), ("1 gamma=0.1 C=1", "FINISHED")]
    good, bad = (run.data.metrics["validation_error"] for run in nested)
    assert good == parent.data.metrics["validation_error"] < 0.03 < bad
    assert parent.data.params["search.best.gamma"] == "0.001"
    assert {"sample_images.png", "trials.csv", "history.png", "confusion_matrix.png"} <= artifacts(
        client, parent)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in(svm_search_store))  # for this test alone
    mlflow.set_tracking_uri(store_in(svm_search_store))
    [model] = client.search_logged_models([parent.info.experiment_id])
    _, X_test, _, y_test = split(*load_digits(), test_size=0.25, seed=0)
    accuracy = (mlflow.sklearn.load_model(model.model_uri).predict(X_test) == y_test).mean()
    assert accuracy == pytest.approx(parent.data.metrics["test_accuracy"]) and accuracy > 0.98
