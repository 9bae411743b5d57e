"""Search the gamma and C of a support vector machine on the digits, then test the best one.

    python lab/processes/svm_search/main.py [key=value …]
"""

from lib.config import load_config
from lib.tracking import pinned, start_run
from lib.viz import plot_confusion_matrix, plot_grid, plot_images

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.metrics import confusion_matrix
from svm import accuracy_map, best_trial, cross_validate, grid, load_digits, make_classifier, split


def main() -> None:
    config = load_config(__file__)
    seed = config["seed"]
    images, digits = load_digits()
    X_train, X_test, y_train, y_test = split(images, digits, config["test_size"], seed)

    with start_run(__file__, config):
        mlflow.log_figure(plot_images(images[:5], digits[:5]), "sample_images.png")

        trials = []
        for point in grid(gamma=config["gamma"], C=config["C"]):
            name = " ".join(f"{key}={value:g}" for key, value in point.items())
            with mlflow.start_run(run_name=name, nested=True):
                classifier = make_classifier(**point)
                accuracy = cross_validate(classifier, X_train, y_train, config["folds"], seed)
                mlflow.log_params(point)
                mlflow.log_metric("validation_accuracy", accuracy)
            trials.append({**point, "validation_accuracy": accuracy})
            print(f"{name:20} validation_accuracy {accuracy:.4f}")

        mlflow.log_text(pd.DataFrame(trials).to_csv(index=False), "trials.csv")
        mlflow.log_figure(plot_grid(accuracy_map(trials), "Validation accuracy"), "grid.png")

        best = best_trial(trials)
        model = make_classifier(best["gamma"], best["C"]).fit(X_train, y_train)
        accuracy = model.score(X_test, y_test)
        matrix = confusion_matrix(y_test, model.predict(X_test))
        mlflow.log_params({"best_gamma": best["gamma"], "best_C": best["C"]})
        mlflow.log_metrics({"validation_accuracy": best["validation_accuracy"],
                            "test_accuracy": accuracy})
        mlflow.log_figure(plot_confusion_matrix(matrix), "confusion_matrix.png")
        mlflow.sklearn.log_model(
            model, name="model", serialization_format="pickle",
            signature=infer_signature(X_train, model.predict(X_train)),
            pip_requirements=pinned("scikit-learn", "numpy", "scipy"))
        print(f"best: gamma={best['gamma']:g} C={best['C']:g}, test_accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
