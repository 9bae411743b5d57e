"""Networks with the channels last in memory."""

import contextlib
from functools import partial

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from taglab.tracking import start_run
from taglab.training import accuracy, fit, predict
from taglab.training.layout import channels_last_pays
from tests.training.examples import Stop, same, stopping

CPU = torch.device("cpu")


def images(rows: int = 50, seed: int = 0) -> list[torch.Tensor]:
    """Return squares of three brightnesses, and their classes."""
    classes = torch.arange(rows) % 3
    noise = torch.randn(rows, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    return [noise + classes[:, None, None, None], classes]


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    # The gradient of a bias before BatchNorm is rounding alone, of which Adam makes whole steps.
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Dropout(0.1),
                         nn.Linear(32, 3))


def trained(model: nn.Module, **options):
    return fit(model, images(), images(20, seed=1), **{
        "loss": cross_entropy, "metrics": {"accuracy": accuracy}, "epochs": 4, "batch_size": 16,
        "optimizer": partial(torch.optim.Adam, lr=0.01), "device": "cpu", **options})


class Viewed(nn.Sequential):
    """A network that looks at its images as rows, which needs the channels first."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self[1](self[0](images).view(len(images), -1))


@pytest.mark.parametrize("layers, pays", [
    (convolutional(), True), (nn.Sequential(convolutional(), nn.Softmax(1)), True),
    (nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), False),
    (nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten()), False),
    (nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU()), False),  # its outputs are images
    (Viewed(nn.Conv2d(2, 4, 3), nn.Linear(144, 3)), False)])
def test_the_channels_are_last_where_that_is_known_to_pay(layers, pays):
    assert channels_last_pays(layers, CPU) is pays
    assert not channels_last_pays(layers, torch.device("cuda"))


def test_the_layout_changes_no_result_and_the_model_keeps_its_own():
    seen = []

    def loss(output, target):
        seen.append(model[0].weight.is_contiguous(memory_format=torch.channels_last))
        return cross_entropy(output, target)

    models, histories = [convolutional(), convolutional()], []
    for model, channels_last in zip(models, (None, False)):
        histories.append(trained(model, loss=loss, channels_last=channels_last).history)
        assert {*seen} == {channels_last is None}
        seen.clear()
    pd.testing.assert_frame_equal(*histories, rtol=1e-3)
    assert all(parameter.is_contiguous() for parameter in models[0].parameters())
    outputs = [predict(model, images()[0]) for model in models]
    assert torch.allclose(*outputs, atol=1e-3)
    trained(Viewed(nn.Conv2d(2, 4, 3), nn.Linear(144, 3)))


def test_a_training_with_channels_last_resumes_with_the_same_result(own_store, monkeypatch):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    whole, model = convolutional(), convolutional()
    expected = trained(whole)
    with contextlib.suppress(Stop), start_run("quick/main.py", {}):
        trained(convolutional(), loss=stopping(13))  # five batches an epoch: in the third
    assert len(list((own_store / "state" / "training").iterdir())) == 1
    with start_run("quick/main.py", {}):
        done = trained(model)
    pd.testing.assert_frame_equal(done.history, expected.history, check_exact=True)
    assert same(model, whole)
