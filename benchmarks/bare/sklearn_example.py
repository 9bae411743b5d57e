"""What sklearn_example computes and draws, without any tracking: the limit for its main.py."""
import sys
import tempfile
import tomllib
from pathlib import Path

from lib.viz import plot_confusion_matrix, plot_scores
from wine import cross_validate, leaderboard, load_wine, make_classifier, split

PROCESS = Path(sys.argv[1])  # its folder
config = tomllib.loads((PROCESS / "config.toml").read_text())
seed = config["seed"]
X_train, X_test, y_train, y_test = split(*load_wine(), config["test_size"], seed)
with tempfile.TemporaryDirectory() as folder:
    accuracies = {}
    for name in config["classifiers"]:
        classifier = make_classifier(name, seed, **config.get(name, {}))
        accuracies[name], matrix = cross_validate(
            classifier, X_train, y_train, config["folds"], seed)
        plot_confusion_matrix(matrix, title=name).savefig(Path(folder, f"{name}.png"))
    scores = leaderboard(accuracies).set_index("classifier")["validation_accuracy"]
    plot_scores(scores, "Cross-validation").savefig(Path(folder, "leaderboard.png"))
best = scores.index[0]
model = make_classifier(best, seed, **config.get(best, {})).fit(X_train, y_train)
print(f"best: {best}, test_accuracy {model.score(X_test, y_test):.4f}")
