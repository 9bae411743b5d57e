from pathlib import Path

import mlflow
import numpy as np
import pytest
from taglab.testing import artifacts, run_python, runs_in, store_in

from .wine import cross_validate, leaderboard, load_wine, make_classifier, split

MAIN = Path(__file__).with_name("main.py")
QUICK = ['classifiers=["naive_bayes", "nearest_neighbours"]', "folds=3"]


def test_the_split_is_stratified_and_loses_nothing():
    X, y = load_wine()
    X_train, X_test, y_train, y_test = split(X, y, test_size=0.25, seed=3)
    assert sorted([*X_train.index, *X_test.index]) == list(X.index)
    assert y_test.index.equals(X_test.index) and len(y_test) == 45
    assert np.allclose(y_train.value_counts(normalize=True), y.value_counts(normalize=True),
                       atol=0.02)


@pytest.mark.parametrize("name", [
    "logistic_regression", "naive_bayes", "nearest_neighbours", "random_forest", "linear_svm",
    "gradient_boosting", "ada_boost"])
def test_each_classifier_learns_the_same_each_time(name):
    X, y = load_wine()
    X_train, X_test, y_train, y_test = split(X, y, test_size=0.25, seed=0)
    models = [make_classifier(name, seed=5).fit(X_train, y_train) for _ in range(2)]
    assert models[0].score(X_test, y_test) > 0.85
    assert np.array_equal(models[0].predict(X_test), models[1].predict(X_test))


def test_cross_validation_predicts_every_row_once_by_scaled_distances():
    X, y = load_wine()
    accuracy, matrix = cross_validate(make_classifier("nearest_neighbours", 0), X, y, 5, seed=0)
    assert matrix.sum() == len(y) and accuracy == matrix.trace() / len(y)
    assert accuracy > 0.93, "without scaling, proline decides alone and accuracy is 0.7"


def test_the_leaderboard_puts_the_best_first_and_keeps_the_order_of_equals():
    board = leaderboard({"a": 0.5, "b": 0.9, "c": 0.9})
    assert list(board["classifier"]) == ["b", "c", "a"]


def test_an_unknown_classifier_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="'forest'; known are logistic_regression"):
        make_classifier("forest", seed=0)


def test_the_process_logs_nested_runs_a_leaderboard_and_a_model_that_predicts(own_store):
    done = run_python(MAIN, *QUICK, folder=own_store)
    assert done.returncode == 0, done.stderr
    client, [parent], nested = runs_in(own_store)
    assert {run.info.status for run in [parent, *nested]} == {"FINISHED"}
    assert [run.data.params["classifier"] for run in nested] == [
        "naive_bayes", "nearest_neighbours"]
    assert nested[1].data.params["n_neighbors"] == "5"
    assert parent.data.params["nearest_neighbours.n_neighbors"] == "5"
    assert all("confusion_matrix.png" in artifacts(client, run) for run in nested)
    assert {"leaderboard.csv", "leaderboard.png", "output.log"} <= artifacts(client, parent)
    best = max(run.data.metrics["validation_accuracy"] for run in nested)
    assert parent.data.metrics["validation_accuracy"] == best

    mlflow.set_tracking_uri(store_in(own_store))
    [model] = client.search_logged_models([parent.info.experiment_id])
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    X, y = load_wine()
    _, X_test, _, y_test = split(X, y, test_size=0.25, seed=0)
    accuracy = (loaded.predict(X_test) == y_test).mean()
    assert accuracy == parent.data.metrics["test_accuracy"] > 0.9
    assert len(loaded.metadata.get_input_schema().inputs) == 13
