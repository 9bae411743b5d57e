"""Search the gamma and C of a support vector machine on the digits, then test the best one.

    python lab/processes/svm_search/main.py [key=value …]
    python lab/processes/svm_search/main.py parameters=tutorial
"""

from taglab.config import load_config
from taglab.search import search
from taglab.tracking import pinned, start_run
from lib.viz import plot_confusion_matrix, plot_images

import mlflow
from mlflow.models import infer_signature
from sklearn.metrics import confusion_matrix
from svm import cross_validate, load_digits, make_classifier, parameter_set, search_space, split


def main() -> None:
    config = load_config(__file__)
    seed, folds, chosen = config["seed"], config["folds"], parameter_set(config)

    with start_run(__file__, config):
        images, digits = load_digits()
        X_train, X_test, y_train, y_test = split(images, digits, config["test_size"], seed)
        mlflow.log_figure(plot_images(images[:5], digits[:5]), "sample_images.png")

        def train(gamma: float, C: float) -> float:
            return cross_validate(make_classifier(gamma, C), X_train, y_train, folds, seed)

        found = search(train, search_space(**chosen), metric="validation_error",
                       direction="minimize", seed=seed, method=chosen["method"],
                       trials=chosen.get("trials"), workers=config["workers"])

        model = make_classifier(**found.best_params).fit(X_train, y_train)
        accuracy = model.score(X_test, y_test)
        matrix = confusion_matrix(y_test, model.predict(X_test))
        mlflow.log_metric("test_accuracy", accuracy)
        mlflow.log_figure(plot_confusion_matrix(matrix), "confusion_matrix.png")
        mlflow.sklearn.log_model(
            model, name="model", serialization_format="pickle",
            signature=infer_signature(X_train, model.predict(X_train)),
            pip_requirements=pinned("scikit-learn", "numpy", "scipy"))
        best = " ".join(f"{name}={value:.4g}" for name, value in found.best_params.items())
        print(f"best: {best}, test_accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
