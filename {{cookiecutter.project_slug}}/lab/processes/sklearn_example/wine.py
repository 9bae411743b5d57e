"""Seven classifiers for the cultivar of a wine, from 13 chemical measurements."""

from typing import Any

import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_wine as load_bunch
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def load_wine() -> tuple[pd.DataFrame, pd.Series]:
    """Return the measurements of 178 wines and their cultivars: 0, 1 or 2."""
    return load_bunch(return_X_y=True, as_frame=True)


def split(
    X: pd.DataFrame, y: pd.Series, test_size: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """Return the training and test parts of X, then those of y, alike in their classes."""
    return train_test_split(X, y, test_size=test_size, stratify=y, random_state=seed)


def make_classifier(name: str, seed: int, **hyperparameters: Any) -> Pipeline:
    """Return a classifier by name, behind the scaling that is fitted with it."""
    makers = {
        "logistic_regression": lambda **values: LogisticRegression(max_iter=1000, **values),
        "naive_bayes": GaussianNB,
        "nearest_neighbours": KNeighborsClassifier,
        "random_forest": lambda **values: RandomForestClassifier(random_state=seed, **values),
        "linear_svm": lambda **values: SVC(kernel="linear", **values),
        "gradient_boosting":
            lambda **values: GradientBoostingClassifier(random_state=seed, **values),
        "ada_boost": lambda **values: AdaBoostClassifier(random_state=seed, **values),
    }
    if name not in makers:
        raise ValueError(f"unknown classifier {name!r}; known are {', '.join(makers)}")
    return make_pipeline(StandardScaler(), makers[name](**hyperparameters))


def hyperparameters(classifier: Pipeline) -> dict[str, Any]:
    """Return what the classifier behind the scaling was set to, defaults included."""
    step: ClassifierMixin = classifier[-1]
    return step.get_params()


def cross_validate(
    classifier: Pipeline, X: pd.DataFrame, y: pd.Series, folds: int, seed: int
) -> tuple[float, Any]:
    """Return the accuracy and the confusion matrix of predictions for left-out folds."""
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    predicted = cross_val_predict(classifier, X, y, cv=parts)
    return accuracy_score(y, predicted), confusion_matrix(y, predicted)


def leaderboard(accuracies: dict[str, float]) -> pd.DataFrame:
    """Return the classifiers, the best first; the earlier one of two equals."""
    board = pd.DataFrame({"classifier": accuracies.keys(),
                          "validation_accuracy": accuracies.values()})
    return board.sort_values("validation_accuracy", ascending=False, kind="stable",
                             ignore_index=True)
