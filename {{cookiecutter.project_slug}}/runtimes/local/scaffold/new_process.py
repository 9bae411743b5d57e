"""The work of new_process: functions of plain arguments."""

import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split


def load_data() -> tuple[pd.DataFrame, pd.Series]:
    """Return ten measurements of 442 patients, and how far their diabetes went in a year."""
    return load_diabetes(return_X_y=True, as_frame=True)


def split(
    X: pd.DataFrame, y: pd.Series, test_size: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """Return the training and test parts of X, then those of y."""
    return train_test_split(X, y, test_size=test_size, random_state=seed)


def train(X: pd.DataFrame, y: pd.Series, alpha: float) -> Ridge:
    """Return a fitted model; `alpha` says how much large coefficients cost."""
    return Ridge(alpha=alpha).fit(X, y)
