"""Figures of a search. They do not go through `matplotlib.pyplot`, so none is left open."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure


def plot_search_history(trials: pd.DataFrame, direction: str = "maximize") -> Figure:
    """Draw the value of each trial over its number, and the best value so far.

    `trials` has a column `number` and a column `value`, a row for each finished trial.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    best = trials["value"].cummax() if direction == "maximize" else trials["value"].cummin()
    axes.plot(trials["number"], trials["value"], ".", label="trial")
    axes.step(trials["number"], best, where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="value")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure


def plot_parallel_coordinates(trials: pd.DataFrame, direction: str = "maximize") -> Figure:
    """Draw each trial as a line through its parameters, coloured by its value, the best on top.

    `trials` has a column `value` and one for each parameter. What is not a number is drawn in
    the order of the alphabet.
    """
    trials = trials.sort_values("value", ascending=direction == "maximize", kind="stable")
    names = [name for name in trials.columns if name != "value"]
    figure = Figure(figsize=(2.5 + 1.4 * len(names), 4), layout="constrained")
    axes = figure.add_subplot()
    heights = np.column_stack([_heights(axes, place, trials[name])
                               for place, name in enumerate(names)])
    lines = LineCollection([np.column_stack([range(len(names)), row]) for row in heights],
                           cmap="viridis", array=trials["value"].to_numpy(float), alpha=0.7)
    axes.add_collection(lines)
    figure.colorbar(lines, label="value")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks([])
    axes.set(xlim=(-0.4, len(names) - 0.4), ylim=(-0.1, 1.1))
    return figure


def importances(values: pd.Series, params: pd.DataFrame) -> pd.Series:
    """Return which share of the variance of the values lies between the fifths of each parameter.

    Of a parameter that is not a number, between its values. It is the correlation ratio; Optuna's
    importances tell as much, and take a second to import.
    """
    shares = {}
    for name, column in params.items():
        numeric = pd.api.types.is_numeric_dtype(column) and column.nunique() > 5
        groups = pd.qcut(column, 5, duplicates="drop") if numeric else column.map(repr)
        means = values.groupby(groups, observed=True).transform("mean")
        shares[name] = means.var() / values.var()
    return pd.Series(shares, name="share of the variance between fifths")


def plot_importances(values: pd.Series, params: pd.DataFrame) -> Figure:
    """Draw one horizontal bar per parameter, the most important one on top."""
    shares = importances(values, params).sort_values()
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh([str(name) for name in shares.index], shares.to_numpy(), color="tab:blue")
    axes.bar_label(bars, fmt="%.2g", padding=3)
    axes.set(xlim=(0, 1.1), xlabel=str(shares.name))
    return figure


def plot_learning_curves(reports: Mapping[object, pd.Series], label: str = "") -> Figure:
    """Draw one line for each trial: what it reported, over the step."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for number, report in reports.items():
        axes.plot(report.index, report, marker=".", linewidth=1, label=str(number))
    axes.set(xlabel="step", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def plot_pareto(trials: pd.DataFrame, metrics: Sequence[str], best: Sequence[int]) -> Figure:
    """Draw each trial by two of its metrics; those whose rows `best` names are marked."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    first, second = metrics[:2]
    axes.plot(trials[first], trials[second], ".", color="tab:grey", label="trial")
    front = trials.loc[list(best)].sort_values(first)
    axes.plot(front[first], front[second], "o-", color="tab:red", label="not beaten in both")
    axes.set(xlabel=first, ylabel=second)
    axes.legend()
    return figure


def _heights(axes: Axes, place: int, values: pd.Series) -> np.ndarray:
    """Return where values lie between 0 and 1, and write the ends beside their axis."""
    axes.axvline(place, color="lightgrey", zorder=0)
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    codes, known = (values.to_numpy(float), None) if numeric else pd.factorize(
        values.map(str), sort=True)
    low, high = np.nanmin(codes), np.nanmax(codes)
    texts = ({low: f"{low:.3g}", high: f"{high:.3g}"} if known is None else
             dict(enumerate(map(str, known))))
    if known is None and 0 < 100 * low <= high:  # over orders of magnitude: logarithms
        codes, low, high = np.log(codes), np.log(low), np.log(high)
        texts = {np.log(code): text for code, text in texts.items()}
    spread = high - low or 1
    for code, text in texts.items():
        axes.text(place + 0.03, (code - low) / spread, text, fontsize=8, va="center")
    return (codes - low) / spread
