"""What svm_search computes and draws, without any tracking: the limit for its main.py."""
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
from lib.viz import plot_confusion_matrix, plot_images
from sklearn.metrics import confusion_matrix
from svm import cross_validate, load_digits, make_classifier, split

PROCESS = Path(sys.argv[1])  # its folder
config = tomllib.loads((PROCESS / "config.toml").read_text())
seed, space = config["seed"], config["default"]
images, digits = load_digits()
X_train, X_test, y_train, y_test = split(images, digits, config["test_size"], seed)
draw = np.random.default_rng(seed).uniform
trials = []
for _ in range(space["trials"]):
    point = {name: float(np.exp(draw(*np.log(space[name])))) for name in ("gamma", "C")}
    accuracy = cross_validate(make_classifier(**point), X_train, y_train, config["folds"], seed)
    trials.append((accuracy, point))
_, best = max(trials, key=lambda trial: trial[0])
model = make_classifier(**best).fit(X_train, y_train)
with tempfile.TemporaryDirectory() as folder:
    plot_images(images[:5], digits[:5]).savefig(Path(folder, "sample_images.png"))
    matrix = confusion_matrix(y_test, model.predict(X_test))
    plot_confusion_matrix(matrix).savefig(Path(folder, "confusion_matrix.png"))
print(f"test_accuracy {model.score(X_test, y_test):.4f}")
