"""Figures of a search, made without `matplotlib.pyplot`, so that none stays open."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure


def plot_search_history(trials: pd.DataFrame, direction: str = "maximize") -> Figure:
    """Plot the value of each trial against its number, and the best value so far.

    trials: a row for each finished trial, with the columns `number` and `value`.
    direction: maximize or minimize.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    best = trials["value"].cummax() if direction == "maximize" else trials["value"].cummin()
    axes.plot(trials["number"], trials["value"], ".", label="trial")
    axes.step(trials["number"], best, where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="value")
    axes.locator_params(axis="x", integer=True)
    axes.legend()
    return figure


def plot_parallel_coordinates(trials: pd.DataFrame, direction: str = "maximize") -> Figure:
    """Plot each trial as a line through its parameters, coloured by its value, the best on top.

    Inselberg (1985), The plane with parallel coordinates.

    trials: a row for each finished trial, with the column `value` and one for each parameter.
        Values that are not numbers are placed in alphabetical order, numbers that span two orders
        of magnitude on a logarithmic scale.
    direction: maximize or minimize.
    """
    trials = trials.sort_values("value", ascending=direction == "maximize", kind="stable")
    names = [name for name in trials.columns if name != "value"]
    figure = Figure(figsize=(2.5 + 1.4 * len(names), 4), layout="constrained")
    axes = figure.add_subplot()
    heights = np.column_stack([_draw_axis(axes, x, trials[name])
                               for x, name in enumerate(names)])
    lines = LineCollection([np.column_stack([range(len(names)), row]) for row in heights],
                           cmap="viridis", array=trials["value"].to_numpy(float), alpha=0.7)
    axes.add_collection(lines)
    figure.colorbar(lines, label="value")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks([])
    axes.set(xlim=(-0.4, len(names) - 0.4), ylim=(-0.1, 1.1))
    return figure


def importances(values: pd.Series, params: pd.DataFrame) -> pd.Series:
    """Return the share of the variance of `values` that each parameter explains, from 0 to 1.

    This is the correlation ratio between the fifths of a numeric parameter, or between the values
    of another one. Pearson (1905), On the general theory of skew correlation and non-linear
    regression. Optuna's importances say much the same but take a second to import.

    values: one for each trial.
    params: a row for each trial, a column for each parameter.
    """
    shares = {}
    for name, column in params.items():
        numeric = pd.api.types.is_numeric_dtype(column) and column.nunique() > 5
        groups = pd.qcut(column, 5, duplicates="drop") if numeric else column.map(repr)
        means = values.groupby(groups, observed=True).transform("mean")
        shares[name] = means.var() / values.var()
    return pd.Series(shares, name="share of the variance between fifths")


def plot_importances(values: pd.Series, params: pd.DataFrame) -> Figure:
    """Plot the importance of each parameter as a bar, the most important one on top.

    The arguments are those of `importances`.
    """
    shares = importances(values, params).sort_values()
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh([str(name) for name in shares.index], shares.to_numpy(), color="tab:blue")
    axes.bar_label(bars, fmt="%.2g", padding=3)
    axes.set(xlim=(0, 1.1), xlabel=str(shares.name))
    return figure


def plot_learning_curves(reports: Mapping[object, pd.Series], label: str = "") -> Figure:
    """Plot the values that each trial reported against the step.

    reports: by trial, the values with the steps as index.
    label: of the vertical axis.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for number, report in reports.items():
        axes.plot(report.index, report, marker=".", linewidth=1, label=str(number))
    axes.set(xlabel="step", ylabel=label)
    axes.locator_params(axis="x", integer=True)
    return figure


def plot_pareto(trials: pd.DataFrame, metrics: Sequence[str], best: Sequence[int]) -> Figure:
    """Plot one metric of the trials against another, and mark the Pareto front.

    trials: a row for each finished trial, with a column for each metric.
    metrics: the first two are plotted.
    best: the index labels of the trials on the front.
    """
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    first, second = metrics[:2]
    axes.plot(trials[first], trials[second], ".", color="tab:grey", label="trial")
    front = trials.loc[list(best)].sort_values(first)
    axes.plot(front[first], front[second], "o-", color="tab:red", label="Pareto front")
    axes.set(xlabel=first, ylabel=second)
    axes.legend()
    return figure


def _draw_axis(axes: Axes, x: int, values: pd.Series) -> np.ndarray:
    """Draw the axis of a parameter at x; return the heights of the values on it, from 0 to 1."""
    axes.axvline(x, color="lightgrey", zorder=0)
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    codes, known = (values.to_numpy(float), None) if numeric else pd.factorize(
        values.map(str), sort=True)
    low, high = np.nanmin(codes), np.nanmax(codes)
    texts = ({low: f"{low:.3g}", high: f"{high:.3g}"} if known is None else
             dict(enumerate(map(str, known))))
    if known is None and 0 < 100 * low <= high:
        codes, low, high = np.log(codes), np.log(low), np.log(high)
        texts = {np.log(code): text for code, text in texts.items()}
    spread = high - low or 1
    for code, text in texts.items():
        axes.text(x + 0.03, (code - low) / spread, text, fontsize=8, va="center")
    heights: np.ndarray = (codes - low) / spread
    return heights
