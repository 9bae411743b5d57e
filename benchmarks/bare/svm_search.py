"""What svm_search computes and draws, without any tracking: the limit for its main.py."""
import sys
import tempfile
import tomllib
from pathlib import Path

PROCESS = Path(sys.argv[1])
sys.path[:0] = [str(PROCESS), str(PROCESS.parents[1])]

from lib.viz import plot_confusion_matrix, plot_grid, plot_images  # noqa: E402
from sklearn.metrics import confusion_matrix  # noqa: E402
from svm import (  # noqa: E402
    accuracy_map, best_trial, cross_validate, grid, load_digits, make_classifier, split)

config = tomllib.loads((PROCESS / "config.toml").read_text())
seed = config["seed"]
images, digits = load_digits()
X_train, X_test, y_train, y_test = split(images, digits, config["test_size"], seed)
trials = []
for point in grid(gamma=config["gamma"], C=config["C"]):
    accuracy = cross_validate(make_classifier(**point), X_train, y_train, config["folds"], seed)
    trials.append({**point, "validation_accuracy": accuracy})
best = best_trial(trials)
model = make_classifier(best["gamma"], best["C"]).fit(X_train, y_train)
with tempfile.TemporaryDirectory() as folder:
    plot_images(images[:5], digits[:5]).savefig(Path(folder, "sample_images.png"))
    plot_grid(accuracy_map(trials), "Validation accuracy").savefig(Path(folder, "grid.png"))
    matrix = confusion_matrix(y_test, model.predict(X_test))
    plot_confusion_matrix(matrix).savefig(Path(folder, "confusion_matrix.png"))
print(f"test_accuracy {model.score(X_test, y_test):.4f}")
