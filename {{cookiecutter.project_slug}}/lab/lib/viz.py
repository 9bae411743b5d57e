"""Figures. Each function draws what it is given and returns the figure; nothing is shown or saved.

The figures do not go through `matplotlib.pyplot`, so none is left open after a long search.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


def plot_confusion_matrix(
    matrix: np.ndarray, labels: Sequence[object] | None = None, title: str = "Confusion matrix"
) -> Figure:
    """Draw counts of true classes (rows) against predicted ones (columns)."""
    matrix = np.asarray(matrix)
    labels = range(len(matrix)) if labels is None else labels
    side = 2.5 + 0.4 * len(matrix)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix, cmap="Blues")
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if count > matrix.max() / 2 else "black"
        axes.text(column, row, f"{count:g}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(matrix)), labels)
    axes.set_yticks(range(len(matrix)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def plot_scores(scores: pd.Series, title: str = "", best: str = "max") -> Figure:
    """Draw one horizontal bar per entry, the best on top, on an axis that shows differences."""
    scores = scores.sort_values(ascending=best == "max")
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh([str(name) for name in scores.index], scores.to_numpy(), color="tab:blue")
    axes.bar_label(bars, fmt="%.4g", padding=3)
    spread = scores.max() - scores.min() or 0.1
    axes.set_xlim(scores.min() - spread, scores.max() + 0.3 * spread)
    axes.set(xlabel=str(scores.name or ""), title=title)
    return figure


def plot_training_history(history: pd.DataFrame) -> Figure:
    """Draw loss and accuracy per epoch, of the training and of the validation part.

    `history` is indexed by epoch and holds `loss`, `accuracy`, `val_loss` and `val_accuracy`.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        axes.plot(history.index, history[metric], marker=".", label="training")
        axes.plot(history.index, history[f"val_{metric}"], marker=".", label="validation")
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def plot_images(images: np.ndarray, titles: Sequence[object]) -> Figure:
    """Draw grey images side by side."""
    figure = Figure(figsize=(1.6 * len(images), 2), layout="constrained")
    places = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, image, title in zip(places, images, titles):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(str(title))
        axes.set_axis_off()
    return figure
