"""Compare seven classifiers on the wine data, then test the best one.

    python lab/processes/sklearn_example/main.py [key=value …]
"""

from taglab.config import load_config
from taglab.tracking import pinned, start_run
from lib.viz import plot_confusion_matrix, plot_scores

import mlflow
from mlflow.models import infer_signature
from wine import cross_validate, hyperparameters, leaderboard, load_wine, make_classifier, split


def main() -> None:
    config = load_config(__file__)
    seed = config["seed"]

    with start_run(__file__, config):
        X, y = load_wine()
        X_train, X_test, y_train, y_test = split(X, y, config["test_size"], seed)

        accuracies = {}
        for name in config["classifiers"]:
            with mlflow.start_run(run_name=name, nested=True):
                classifier = make_classifier(name, seed, **config.get(name, {}))
                accuracy, matrix = cross_validate(
                    classifier, X_train, y_train, config["folds"], seed)
                mlflow.log_params({"classifier": name, **hyperparameters(classifier)})
                mlflow.log_metric("validation_accuracy", accuracy)
                mlflow.log_figure(plot_confusion_matrix(matrix, title=name), "confusion_matrix.png")
            accuracies[name] = accuracy
            print(f"{name:20} validation_accuracy {accuracy:.4f}")

        board = leaderboard(accuracies)
        mlflow.log_text(board.to_csv(index=False), "leaderboard.csv")
        scores = board.set_index("classifier")["validation_accuracy"]
        mlflow.log_figure(plot_scores(scores, "Cross-validation"), "leaderboard.png")

        best = scores.index[0]
        model = make_classifier(best, seed, **config.get(best, {})).fit(X_train, y_train)
        accuracy = model.score(X_test, y_test)
        mlflow.log_param("best_classifier", best)
        mlflow.log_metrics({"validation_accuracy": scores.iloc[0], "test_accuracy": accuracy})
        mlflow.sklearn.log_model(
            model, name="model", serialization_format="pickle",
            signature=infer_signature(X_train, model.predict(X_train)),
            pip_requirements=pinned("scikit-learn", "pandas", "numpy", "scipy"))
        print(f"best: {best}, test_accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
