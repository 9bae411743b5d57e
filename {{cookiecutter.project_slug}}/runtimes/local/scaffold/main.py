"""Fit a ridge regression to the diabetes data and test it. Put your own work in its place.

    python lab/processes/new_process/main.py [key=value …]
"""

from lib.config import load_config
from lib.tracking import start_run

import mlflow
from new_process import load_data, split, train


def main() -> None:
    config = load_config(__file__)
    X, y = load_data()
    X_train, X_test, y_train, y_test = split(X, y, config["test_size"], config["seed"])

    with start_run(__file__, config):
        model = train(X_train, y_train, config["alpha"])
        test_r2 = model.score(X_test, y_test)
        mlflow.log_metrics({"train_r2": model.score(X_train, y_train), "test_r2": test_r2})
        print(f"test_r2 {test_r2:.4f}")


if __name__ == "__main__":
    main()
