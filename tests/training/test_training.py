import contextlib
import random
import signal
import subprocess
import sys
import time
from functools import partial

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Subset, TensorDataset

from taglab.datasets.cache import local_copy
from taglab.training.tensorboard import collect
from taglab.testing import environment, runs_in
from taglab.tracking import connect, start_run
from taglab.training import (
    NotFinite, Regularised, accuracy, choose_device, evaluate, make_repeatable, predict)
from taglab.training.logger import log_epochs
from tests.training.examples import (
    STANDING_STILL, Jittered, Stop, blobs, network, same, stopping, trained)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 50, 1000])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_means_are_over_samples_for_every_batch_size(batch_size, accumulate):
    model, data = network(), blobs(50)
    row = trained(model, data, data, epochs=1, batch_size=batch_size, accumulate=accumulate,
                  optimizer=STANDING_STILL).best
    exact = cross_entropy(model(data[0]), data[1]).item()
    hits = (predict(model, data[0]).argmax(1) == data[1]).double().mean().item()
    assert row == pytest.approx(
        {"loss": exact, "val_loss": exact, "accuracy": hits, "val_accuracy": hits})
    assert row["accuracy"] == hits, "a count is exact"
    evaluated = evaluate(model, data, loss=cross_entropy, metrics={"accuracy": accuracy})
    assert evaluated == pytest.approx({"loss": exact, "accuracy": hits})


def test_accumulated_batches_give_the_same_step_as_one_large_batch():
    models = [network(), network()]
    for model, size, accumulate in zip(models, (40, 8), (1, 5)):
        trained(model, batch_size=size, accumulate=accumulate, seed=3)  # the last step: 20 of 40
    assert all(map(torch.allclose, *(model.state_dict().values() for model in models)))


def test_fit_learns_and_leaves_the_weights_of_the_best_epoch():
    model, validation = network(), blobs(50, seed=1)
    done = trained(model, validation=validation, epochs=12, best="val_accuracy", maximize=True,
                   optimizer=partial(torch.optim.Adam, lr=0.3))
    ranked = done.history.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
    assert done.best_epoch == ranked.index[0] < 12, "else the test shows nothing"
    assert done.best == ranked.iloc[0].to_dict() and done.best["val_accuracy"] > 0.8
    assert evaluate(model, validation, loss=cross_entropy)["loss"] == pytest.approx(
        done.best["val_loss"])


def test_the_same_seed_gives_the_same_training():
    def numbers(seed):
        model = network(dropout=0.5)
        return trained(model, seed=seed).history, model

    (first, model), (again, copy), (other, _) = map(numbers, (0, 0, 1))
    assert first.equals(again) and same(model, copy) and not first.equals(other)


def test_fit_leaves_the_random_generators_as_they_were():
    def drawn():
        return random.random(), np.random.rand(), torch.rand(1)

    model = network()
    make_repeatable(0)
    expected = drawn()
    make_repeatable(0)
    trained(model, seed=5)
    assert drawn() == expected


def test_tensors_datasets_and_loaders_give_the_same_training():
    points, classes = blobs(70)
    whole = TensorDataset(torch.cat([points, points]), torch.cat([classes, classes]))
    kinds = [(points, classes), TensorDataset(points, classes), Subset(whole, range(70)),
             list(zip(points, classes)), DataLoader(TensorDataset(points, classes), 32)]
    models = [network() for _ in kinds]
    for model, data in zip(models, kinds):
        assert trained(model, data, data, batch_size=32).best["accuracy"] > 0.3
    assert all(same(models[0], model) for model in models[1:4])
    loader = DataLoader(TensorDataset(points, classes), 32, shuffle=True,
                        generator=torch.Generator())
    again = [network(), network()]
    for model in again:  # its generator has moved on, the order is the same
        trained(model, loader)
    assert same(*again) and not same(again[0], models[4])


def test_a_sampler_chooses_the_samples_of_an_epoch():
    seen = []

    def loss(output, target):
        seen.extend(target.tolist())
        return cross_entropy(output, target)

    trained(network(), epochs=1, loss=loss, sampler=lambda data: [0, 3, 6] * 4)
    assert seen[:12] == [0] * 12


def test_early_stopping_keeps_the_best_epoch():
    done = trained(network(), optimizer=STANDING_STILL, epochs=50, patience=4)
    assert (done.best_epoch, len(done.history)) == (1, 5)


@pytest.mark.parametrize("schedule, each, rates", [
    (partial(StepLR, step_size=1, gamma=0.1), "epoch", [0.01, 0.001, 0.0001]),
    (partial(StepLR, step_size=4, gamma=0.1), "step", [0.001, 0.0001, 0.00001]),
    (partial(ReduceLROnPlateau, patience=0, threshold=9), "epoch", [0.01, 0.001, 0.0001]),
])
def test_a_schedule_moves_the_learning_rate(schedule, each, rates):
    done = trained(network(), schedule=schedule, schedule_each=each)  # four steps an epoch
    assert done.history["learning_rate"].to_list() == pytest.approx(rates)


def test_clipping_bounds_the_gradient_of_a_step():
    before, model = network(), network()
    trained(model, epochs=1, batch_size=100, clip=0.01, optimizer=partial(torch.optim.SGD, lr=1))
    moved = [a - b for a, b in zip(model.parameters(), before.parameters())]
    length = torch.cat([part.flatten() for part in moved]).norm().item()
    assert length == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_training_in_16_bits_reaches_about_the_same_loss(precision):
    kinds = []

    def loss(output, target):
        kinds.append(output.dtype)
        return cross_entropy(output, target)

    done = trained(network(), precision=precision, loss=loss, epochs=20, clip=1.0)
    assert {*kinds} == {getattr(torch, precision)} and done.best["val_accuracy"] > 0.7
    plain = trained(network(), epochs=20, clip=1.0)
    assert done.best["val_loss"] == pytest.approx(plain.best["val_loss"], rel=0.05)


class Weighed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, points):
        term = 0.1 * sum(p.square().sum() for p in self.parameters())
        return Regularised(self.body(points), term)


def test_a_model_can_return_a_regularisation_term():
    model, plain = Weighed(), network()
    done = trained(model, epochs=20)
    trained(plain, epochs=20)

    def size(module):
        return sum(part.square().sum().item() for part in module.parameters())

    assert size(model) < 0.5 * size(plain)
    assert done.history.columns.to_list() == ["loss", "accuracy", "regularisation", "val_loss",
                                              "val_accuracy"]
    assert predict(model, blobs()[0]).shape == (100, 3)


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_nan_loss_stops_the_training_and_names_epoch_and_batch(where):
    points, classes = blobs(100)
    points[70] = torch.nan
    bad, good = DataLoader(TensorDataset(points, classes), 32), blobs()
    expected = ("loss is nan in epoch 1, batch 3" if where == "training"
                else "loss is nan in the validation of epoch 1, batch 3")
    with pytest.raises(NotFinite, match=expected):
        trained(network(), *((bad, good) if where == "training" else (good, bad)))


@pytest.mark.parametrize("options, message", [
    ({"best": "val_acuracy"}, "known: loss, accuracy, val_loss, val_accuracy"),
    ({"epochs": 0}, "epochs=0 must be 1 or more"),
    ({"precision": "half"}, "none of auto, float32, bfloat16, float16"),
    ({"schedule_each": "batch"}, "neither 'epoch' nor 'step'"),
    ({"tensorboard": True}, "inside start_run"),
    ({"train": [torch.zeros(3, 4), torch.zeros(2)]}, "same number of rows"),
    ({"train": [torch.zeros(3, 4)]}, "inputs and targets"),
])
def test_options_that_cannot_be_met_are_refused_with_a_reason(options, message):
    with pytest.raises(ValueError, match=message):
        trained(network(), **options)


OPTIONS = {"epochs": 6, "batch_size": 20, "clip": 1.0, "accumulate": 2, "patience": 5,
           "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9), "schedule_each": "step",
           "schedule": partial(OneCycleLR, max_lr=0.1, total_steps=12)}


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_interrupted_training_resumes_with_the_same_result(
        own_store, monkeypatch, precision):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    options = {**OPTIONS, "precision": precision}
    whole = network(dropout=0.5)
    expected = trained(whole, Jittered(), **options)
    # Three batches of training and one of validation an epoch: it stops in the fourth.
    with contextlib.suppress(Stop), start_run("quick/main.py", {}):
        trained(network(dropout=0.5), Jittered(), **{**options, "loss": stopping(14)})
    assert len(list((own_store / "state" / "training").iterdir())) == 1
    model = network(dropout=0.5)
    with start_run("quick/main.py", {}) as run:
        done = trained(model, Jittered(), **options)
    pd.testing.assert_frame_equal(done.history, expected.history, check_exact=True)
    assert same(model, whole) and done.best_epoch == expected.best_epoch
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [*expected.history["loss"].items()]
    assert "resuming after epoch" in mlflow.artifacts.load_text(
        f"runs:/{run.info.run_id}/output.log")
    assert not list((own_store / "state" / "training").iterdir()), "no checkpoint is left"


def test_a_compiled_model_trains_and_resumes_with_the_same_result(own_store, monkeypatch):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))

    def compiled() -> nn.Sequential:
        model = network(dropout=0.5)
        model.compile(backend="eager", dynamic=False)  # which needs no C++ compiler
        return model

    whole, model = compiled(), compiled()
    expected = trained(whole, epochs=4, batch_size=20)
    with contextlib.suppress(Stop), start_run("quick/main.py", {}):
        trained(compiled(), epochs=4, batch_size=20, loss=stopping(18))
    with start_run("quick/main.py", {}):
        done = trained(model, epochs=4, batch_size=20)
    pd.testing.assert_frame_equal(done.history, expected.history, check_exact=True)
    assert same(model, whole) and model.state_dict().keys() == network().state_dict().keys()


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"train": blobs(seed=9)}, {"model": network(seed=1)},
    {"optimizer": STANDING_STILL}, {"config": {"folds": 2}}])
def test_only_the_very_same_training_resumes(own_store, monkeypatch, capfd, change):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    with contextlib.suppress(Stop), start_run("quick/main.py", {}):
        trained(network(), loss=stopping(13), epochs=6)
    with start_run("quick/main.py", change.pop("config", {})):
        trained(change.pop("model", network()), **{"epochs": 6, **change})
    assert "resuming" not in capfd.readouterr().out
    [_] = (own_store / "state" / "training").iterdir()  # of the other training


def test_metrics_reach_mlflow_in_batches(own_store):
    connect()
    row = {"loss": 0.1, "val_loss": 0.2, "accuracy": 0.3, "val_accuracy": 0.4}
    with mlflow.start_run() as run:
        started = time.process_time()
        with log_epochs(1000, []) as logger:
            for epoch in range(1, 1001):
                logger.log(epoch, row)
                logger.flush_if_due()
        assert time.process_time() - started < 2
    client = mlflow.MlflowClient()
    for name, value in row.items():
        points = client.get_metric_history(run.info.run_id, name)
        assert [(p.step, p.value) for p in points] == [(n, value) for n in range(1, 1001)]


SLOW = """
import time, torch
from functools import partial
from taglab.tracking import start_run
from taglab.training import fit
def loss(output, target):
    time.sleep(0.05)
    return (output - target).square().mean()
data = torch.rand(40, 1), torch.rand(40, 1)
with start_run("slow/main.py", {}):
    print("ready", flush=True)
    fit(torch.nn.Linear(1, 1), data, data, loss=loss, epochs=1000, batch_size=20,
        optimizer=partial(torch.optim.SGD, lr=0.01), device="cpu")
"""


def test_metrics_arrive_within_seconds_and_completely_after_sigterm(own_store):
    process = subprocess.Popen([sys.executable, "-c", SLOW], cwd=own_store, text=True,
                               env=environment(own_store, LAB_STATE=str(own_store)),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = iter(process.stdout.readline, "")
    started = next(time.monotonic() for line in lines if line.startswith("ready"))
    client, [run], _ = runs_in(own_store)
    while not client.get_metric_history(run.info.run_id, "loss"):
        assert time.monotonic() < started + 20
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    printed = [line for line in lines if line.startswith("epoch")]
    assert process.wait(30) == 143
    points = client.get_metric_history(run.info.run_id, "val_loss")
    assert [point.step for point in points] == [*range(1, len(points) + 1)]
    assert f"epoch {len(points):3}" in printed[-1]


def test_tensorboard_events_are_artifacts_of_the_run(own_store):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    connect()
    (own_store / "shown").mkdir()
    with mlflow.start_run() as run:
        done = trained(network(), tensorboard=True)
    folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id,
                                                 artifact_path="tensorboard")
    events = EventAccumulator(folder).Reload()
    assert [(each.step, each.value) for each in events.Scalars("val_loss")] == [
        (step, pytest.approx(value)) for step, value in done.history["val_loss"].items()]
    assert "0.weight" in events.Tags()["histograms"]
    assert collect(mlflow.MlflowClient(), own_store / "shown") == 1
    [shown] = (own_store / "shown").iterdir()
    assert any(file.name.startswith("events") for file in shown.iterdir())


def test_remote_data_is_copied_once_and_again_when_it_changed(tmp_path):
    far, cache = tmp_path / "far.csv", tmp_path / "cache"
    far.write_text("one")
    copies = [local_copy(far.as_uri(), cache) for _ in range(2)]
    assert copies[0] == copies[1] != far and copies[0].read_text() == "one"
    far.write_text("another")
    assert local_copy(far.as_uri(), cache).read_text() == "another"


def test_the_device_is_that_of_the_name_and_the_local_rank(monkeypatch):
    assert choose_device("cpu").type == "cpu" and choose_device("cuda:1").index == 1
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert choose_device("cuda") == torch.device("cuda:2")
