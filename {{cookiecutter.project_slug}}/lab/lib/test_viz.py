import io
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from .viz import plot_confusion_matrix, plot_images, plot_scores, plot_training_history

HISTORY = pd.DataFrame({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7],
                        "accuracy": [0.4, 0.8], "val_accuracy": [0.3, 0.7]}, index=[1, 2])


@pytest.mark.parametrize("figure", [
    plot_confusion_matrix(np.array([[3, 1], [0, 4]])),
    plot_confusion_matrix(np.eye(3, dtype=int), labels=["a", "b", "c"]),
    plot_scores(pd.Series({"a": 0.9, "b": 0.8}, name="accuracy")),
    plot_scores(pd.Series({"only": 0.9})),
    plot_training_history(HISTORY),
    plot_images(np.zeros((5, 8, 8)), range(5)),
])
def test_every_function_returns_a_figure_that_can_be_saved(figure):
    assert isinstance(figure, Figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


def test_the_numbers_drawn_are_the_numbers_given():
    def texts(figure):
        return [text.get_text() for text in figure.axes[0].texts]

    assert texts(plot_confusion_matrix(np.array([[3, 1], [0, 4]]))) == ["3", "1", "0", "4"]
    assert texts(plot_scores(pd.Series({"a": 0.9, "b": 0.8}))) == ["0.8", "0.9"]
    lines = plot_training_history(HISTORY).axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [[1.0, 0.5], [1.1, 0.7]]


def test_no_figure_is_left_open():
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = pyplot.get_fignums() if pyplot else []
    plot_training_history(HISTORY)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert (pyplot.get_fignums() if pyplot else []) == before
