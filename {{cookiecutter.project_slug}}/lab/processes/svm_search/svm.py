"""A support vector machine for the digits, and the grid of its two parameters."""

from itertools import product

import numpy as np
import pandas as pd
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


def grid(**values: list[float]) -> list[dict[str, float]]:
    """Return every combination of the values, as keyword arguments."""
    return [dict(zip(values, point)) for point in product(*values.values())]


def make_classifier(gamma: float, C: float) -> SVC:
    """Return a support vector machine with a Gaussian kernel."""
    return SVC(gamma=gamma, C=C)


def cross_validate(
    classifier: SVC, X: np.ndarray, y: np.ndarray, folds: int, seed: int
) -> float:
    """Return the mean accuracy on the left-out folds."""
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(classifier, X, y, cv=parts).mean())


def best_trial(trials: list[dict[str, float]]) -> dict[str, float]:
    """Return the trial of the highest validation accuracy; the first of equals."""
    return max(trials, key=lambda trial: trial["validation_accuracy"])


def accuracy_map(trials: list[dict[str, float]]) -> pd.DataFrame:
    """Return the validation accuracies as a table: a row per gamma, a column per C."""
    table = pd.DataFrame(trials)
    return table.pivot(index="gamma", columns="C", values="validation_accuracy")
