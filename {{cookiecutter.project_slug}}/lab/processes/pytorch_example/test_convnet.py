from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from taglab.testing import artifacts, run_python, runs_in, store_in
from taglab.training import accuracy, evaluate, predict
from torch.nn.functional import cross_entropy

from .convnet import load_digits, make_network, split

MAIN = Path(__file__).with_name("main.py")
METRICS = ["loss", "accuracy", "val_loss", "val_accuracy"]


def test_the_three_parts_hold_every_image_once():
    data = load_digits()
    parts = split(data, validation_size=0.15, test_size=0.2, seed=0)
    assert [len(part.digits) for part in parts] == [1167, 270, 360]
    rows = torch.cat([part.images for part in parts]).flatten(1)
    assert torch.equal(rows.sort(0).values, data.images.flatten(1).sort(0).values)
    assert all(torch.bincount(part.digits).min() >= 0.09 * len(part.digits) for part in parts)


def test_the_process_logs_histories_and_a_model_that_loads_back(own_store):
    done = run_python(MAIN, "epochs=2", "channels=4", folder=own_store)
    assert done.returncode == 0, done.stderr
    client, [run], _ = runs_in(own_store)
    assert run.info.status == "FINISHED"
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in METRICS}
    assert all([point.step for point in history] == [1, 2] for history in histories.values())
    assert {"training_history.csv", "training_history.png", "confusion_matrix.png",
            "model.pt"} <= artifacts(client, run)
    folder = Path(client.download_artifacts(run.info.run_id, "", str(own_store)))
    table = pd.read_csv(folder / "training_history.csv", index_col="epoch")
    assert table.columns.to_list() == [*METRICS[:2], "learning_rate", *METRICS[2:]]
    assert table["loss"].to_list() == [point.value for point in histories["loss"]]

    mlflow.set_tracking_uri(store_in(own_store))
    [model] = client.search_logged_models([run.info.experiment_id])
    network = mlflow.pytorch.load_model(model.model_uri)
    *_, test = split(load_digits(), 0.15, 0.2, seed=0)
    tested = evaluate(network, test, loss=cross_entropy, metrics={"accuracy": accuracy})
    assert run.data.metrics["test_loss"] == pytest.approx(tested["loss"])
    assert run.data.metrics["test_accuracy"] == pytest.approx(tested["accuracy"])
    copy = make_network(channels=4, dropout=0.0)
    copy.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    assert torch.equal(predict(copy, test.images), predict(network, test.images))
