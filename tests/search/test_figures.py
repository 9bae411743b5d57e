"""The figures of a search show the numbers they are given."""
import io
import sys

import mlflow
import pandas as pd
import pytest
from matplotlib.figure import Figure

from taglab.search import figures, search
from taglab.search.figures import (
    importances, plot_importances, plot_learning_curves, plot_parallel_coordinates, plot_pareto,
    plot_search_history)
from taglab.testing import artifacts, runs_in
from taglab.tracking import start_run

REPORTS = pd.Series([1.0, 0.5], index=[1, 2])
TRIALS = pd.DataFrame({"number": [0, 2, 3], "value": [0.5, 0.4, 0.9], "gamma": [0.1, 1.0, 0.2],
                       "kernel": ["rbf", None, "rbf"], "shrink": [True, False, True]})


@pytest.mark.parametrize("figure", [
    plot_search_history(TRIALS),
    plot_parallel_coordinates(TRIALS.drop(columns="number")),
    plot_parallel_coordinates(TRIALS[["value", "gamma"]].head(1)),
    plot_importances(TRIALS["value"], TRIALS[["gamma", "kernel", "shrink"]]),
    plot_learning_curves({0: pd.Series({1: 0.5, 2: 0.6}), 1: pd.Series(dtype=float)}, "accuracy"),
    plot_pareto(TRIALS, ["value", "gamma"], [0, 2]),
])
def test_every_plot_is_a_figure_that_can_be_saved(figure):
    assert isinstance(figure, Figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


def test_plots_show_the_numbers_they_are_given():
    for direction, best in (("maximize", [0.5, 0.5, 0.9]), ("minimize", [0.5, 0.4, 0.4])):
        lines = plot_search_history(TRIALS, direction).axes[0].lines
        assert [line.get_ydata().tolist() for line in lines] == [[0.5, 0.4, 0.9], best]
    lines = plot_parallel_coordinates(TRIALS.drop(columns="number")).axes[0].collections[0]
    assert [path.vertices[:, 1].round(2).tolist() for path in lines.get_paths()] == [
        [1, 0, 0], [0, 1, 1], [0.11, 1, 1]], "the best is drawn last, on top"
    wide = pd.DataFrame({"value": [1.0, 2.0, 3.0], "gamma": [1e-4, 1e-3, 1e-2]})
    lines = plot_parallel_coordinates(wide).axes[0].collections[0]
    assert [path.vertices[0, 1].round(2) for path in lines.get_paths()] == [0, 0.5, 1]
    assert len(plot_learning_curves({4: REPORTS, 5: REPORTS}).axes[0].lines) == 2
    front = plot_pareto(TRIALS, ["value", "gamma"], [2, 0]).axes[0].lines[1]
    assert front.get_xdata().tolist() == [0.5, 0.9]


def test_no_figure_stays_open_in_pyplot():
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = pyplot.get_fignums() if pyplot else []
    plot_search_history(TRIALS)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert (pyplot.get_fignums() if pyplot else []) == before


def test_the_parameter_that_explains_the_values_is_the_most_important():
    params = pd.DataFrame({"decides": range(100), "kind": ["a", None] * 50,
                           "idle": [1, 2, 2, 1] * 25})
    found = importances(params["decides"] * 2.0 + (params["kind"] == "a") * 40, params)
    assert found.idxmax() == "decides" and found["decides"] > 0.7 and found["idle"] < 0.01
    assert 0.05 < found["kind"] < 0.3


@pytest.mark.parametrize("broken", [False, True])
def test_the_figures_of_a_search_are_drawn_at_the_end_of_its_run(
        own_store, monkeypatch, capfd, broken):
    def train(x):
        return x

    drawn = []
    plot = figures.plot_search_history
    monkeypatch.setattr(figures, "plot_search_history", lambda *given: (
        drawn.append(mlflow.active_run().info.status), plot(*(given if not broken else ())))[1])
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    with start_run("quick/main.py", {}):
        found = search(train, {"x": [1, 2]}, method="grid", direction="maximize")
        del found.trials["value"]  # the user's own
        assert not drawn
    client, [parent], _ = runs_in(own_store)
    assert drawn == ["RUNNING"] and parent.info.status == "FINISHED"
    assert ("history.png" in artifacts(client, parent)) != broken
    assert ("warning: figures of the search in run" in capfd.readouterr().err) == broken
