"""What pytorch_example computes and draws, without any tracking: the limit for its main.py."""
import sys
import tempfile
import tomllib
from pathlib import Path

PROCESS = Path(sys.argv[1])
sys.path[:0] = [str(PROCESS), str(PROCESS.parents[1])]

import torch  # noqa: E402
from convnet import (  # noqa: E402
    choose_device, evaluate, load_digits, make_network, make_repeatable, predict, split, train)
from lib.viz import plot_confusion_matrix, plot_training_history  # noqa: E402
from sklearn.metrics import confusion_matrix  # noqa: E402

config = tomllib.loads((PROCESS / "config.toml").read_text())
seed = config["seed"]
device = choose_device(config["device"])
make_repeatable(seed, device, config["threads"])
parts = split(load_digits(), config["validation_size"], config["test_size"], seed)
training, validation, test = (part.to(device) for part in parts)
network = make_network(config["channels"], config["dropout"]).to(device)
history = train(network, training, validation, config["epochs"], config["batch_size"],
                config["learning_rate"], seed, on_epoch=lambda metrics, step: None)
with tempfile.TemporaryDirectory() as folder:
    plot_training_history(history).savefig(Path(folder, "training_history.png"))
    matrix = confusion_matrix(test.digits.cpu(), predict(network, test.images))
    plot_confusion_matrix(matrix).savefig(Path(folder, "confusion_matrix.png"))
    torch.save(network.state_dict(), Path(folder, "model.pt"))
print(f"test_accuracy {evaluate(network, test)[1]:.4f}")
