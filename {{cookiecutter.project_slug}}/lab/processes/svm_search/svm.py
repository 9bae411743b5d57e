"""A support vector machine for the digits, and the space of its two parameters."""

from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from sklearn.datasets import load_digits as load_bunch
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.svm import SVC


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1797 images of 8×8 grey values from 0 to 16, and the digit that each one shows."""
    bunch = load_bunch()
    return bunch.images, bunch.target


def split(
    images: np.ndarray, digits: np.ndarray, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the training and test images as rows, then their digits."""
    rows = images.reshape(len(images), -1)
    return train_test_split(rows, digits, test_size=test_size, stratify=digits, random_state=seed)


def parameter_set(config: dict[str, Any]) -> dict[str, Any]:
    """Return the table of the configuration that its key `parameters` names, or end with why."""
    tables = {name: table for name, table in config.items() if isinstance(table, dict)}
    if config["parameters"] not in tables:
        raise SystemExit(f"error: parameters is {config['parameters']!r}; it must be one of"
                         f" {', '.join(tables)}")
    return tables[config["parameters"]]


def search_space(
    method: str, gamma: list[float], C: list[float], trials: int | None = None
) -> dict[str, Any]:
    """Return all values for a grid, else ranges on a logarithmic scale between two ends."""
    if method == "grid":
        return {"gamma": gamma, "C": C}
    return {"gamma": FloatDistribution(*gamma, log=True), "C": FloatDistribution(*C, log=True)}


def make_classifier(gamma: float, C: float) -> SVC:
    """Return a support vector machine with a Gaussian kernel."""
    return SVC(gamma=gamma, C=C)


def cross_validate(
    classifier: SVC, X: np.ndarray, y: np.ndarray, folds: int, seed: int
) -> float:
    """Return the mean error on the left-out folds."""
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return 1 - float(cross_val_score(classifier, X, y, cv=parts).mean())
