"""The figures of a search show the numbers they are given."""
import io
import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure

from taglab.search.figures import (
    importances, plot_importances, plot_learning_curves, plot_parallel_coordinates, plot_pareto,
    plot_search_history)

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
