"""What pytorch_example computes and draws, without any tracking: the limit for its main.py."""
import math
import sys
import tempfile
import tomllib
from functools import partial
from pathlib import Path

import torch
from convnet import load_digits, make_network, split
from taglab.training import accuracy, evaluate, fit, make_repeatable, predict
from lib.viz import plot_confusion_matrix, plot_training_history
from sklearn.metrics import confusion_matrix
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

PROCESS = Path(sys.argv[1])  # its folder
config = tomllib.loads((PROCESS / "config.toml").read_text())
seed, rate = config["seed"], config["learning_rate"]
make_repeatable(seed, config["threads"])
training, validation, test = split(
    load_digits(), config["validation_size"], config["test_size"], seed)
network = make_network(config["channels"], config["dropout"])
steps = config["epochs"] * math.ceil(len(training.digits) / config["batch_size"])
done = fit(network, training, validation, loss=cross_entropy, metrics={"accuracy": accuracy},
           optimizer=partial(torch.optim.Adam, lr=rate), epochs=config["epochs"],
           schedule=partial(OneCycleLR, max_lr=rate, total_steps=steps), schedule_each="step",
           batch_size=config["batch_size"], best="val_accuracy", maximize=True,
           device=config["device"], seed=seed)
with tempfile.TemporaryDirectory() as folder:
    plot_training_history(done.history).savefig(Path(folder, "training_history.png"))
    matrix = confusion_matrix(test.digits, predict(network, test.images).argmax(1))
    plot_confusion_matrix(matrix).savefig(Path(folder, "confusion_matrix.png"))
    torch.save(network.state_dict(), Path(folder, "model.pt"))
tested = evaluate(network, test, loss=cross_entropy, metrics={"accuracy": accuracy})
print(f"test_accuracy {tested['accuracy']:.4f}")
