"""Train a small convolutional network on the digits and test its best epoch.

    python lab/processes/pytorch_example/main.py [key=value …]
"""

import math
import tempfile
from functools import partial
from pathlib import Path

from taglab.config import load_config
from taglab.tracking import pinned, start_run
from taglab.training import accuracy, evaluate, fit, make_repeatable, predict
from lib.viz import plot_confusion_matrix, plot_training_history

import mlflow
import torch
from convnet import load_digits, make_network, split
from mlflow.models import infer_signature
from sklearn.metrics import confusion_matrix
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR


def main() -> None:
    config = load_config(__file__)
    seed = config["seed"]
    make_repeatable(seed, config["threads"])

    with start_run(__file__, config):
        training, validation, test = split(
            load_digits(), config["validation_size"], config["test_size"], seed)
        network = make_network(config["channels"], config["dropout"])
        steps = config["epochs"] * math.ceil(len(training.digits) / config["batch_size"])

        done = fit(
            network, training, validation, loss=cross_entropy, metrics={"accuracy": accuracy},
            optimizer=partial(torch.optim.Adam, lr=config["learning_rate"]),
            schedule=partial(OneCycleLR, max_lr=config["learning_rate"], total_steps=steps),
            schedule_each="step",
            epochs=config["epochs"], batch_size=config["batch_size"],
            best="val_accuracy", maximize=True, device=config["device"], seed=seed)
        mlflow.log_text(done.history.to_csv(), "training_history.csv")
        mlflow.log_figure(plot_training_history(done.history), "training_history.png")

        tested = evaluate(network, test, loss=cross_entropy, metrics={"accuracy": accuracy})
        matrix = confusion_matrix(test.digits, predict(network, test.images).argmax(1))
        mlflow.log_metrics({f"test_{name}": value for name, value in tested.items()})
        mlflow.log_figure(plot_confusion_matrix(matrix), "confusion_matrix.png")
        log_network(network.cpu(), test.images)
        print(f"test_accuracy {tested['accuracy']:.4f}")


def log_network(network: torch.nn.Sequential, images: torch.Tensor) -> None:
    """Log the network as a file of weights and as a model that MLflow loads."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(network.state_dict(), Path(folder, "model.pt"))
        mlflow.log_artifacts(folder)
    signature = infer_signature(images.numpy(), predict(network, images).numpy())
    mlflow.pytorch.log_model(network, name="model", serialization_format="pickle",
                             signature=signature, pip_requirements=pinned("torch", "numpy"))


if __name__ == "__main__":
    main()
