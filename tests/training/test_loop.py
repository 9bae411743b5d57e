"""Which epoch is the best, which batches count, and how the optimizer makes its step."""

from functools import partial
from math import inf, nan

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop, SparseAdam
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset

from taglab.training import NotFinite, evaluate
from taglab.training.loop import clear_gradients, fuse_step
from taglab.training.metrics import CHECK_EVERY, Means
from tests.training.examples import blobs, network, trained


def in_turn(values):
    """Return a metric that has these values in turn, in evaluation after each epoch."""
    values = iter(values)

    def metric(output, target):
        return torch.tensor(0.0 if torch.is_grad_enabled() else next(values))

    return metric


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("values, best", [
    ([nan, 1.0, nan], 2), ([1.0, nan, nan], 1), ([inf, 1.0, nan], 2), ([-inf, nan, 1.0], 3),
    ([1.0, inf, -inf], 1), ([nan, 1.0, 1.0], 3)])  # of equal ones that with the lower val_loss
def test_only_a_number_can_make_an_epoch_the_best(maximize, values, best, capsys):
    model = network()
    done = trained(model, epochs=3, best="val_part", maximize=maximize,
                   metrics={"part": in_turn(values)})
    assert done.history["val_loss"].is_monotonic_decreasing and done.best_epoch == best
    assert evaluate(model, blobs(50, seed=1), loss=cross_entropy)["loss"] == pytest.approx(
        done.best["val_loss"]), "the weights are those of the best epoch"
    assert "in no epoch" not in capsys.readouterr().out


def test_where_no_epoch_has_a_number_the_loss_decides_and_it_is_said(capsys):
    turn = in_turn([nan] * 3)
    done = trained(network(), best="val_part", metrics={"part": turn})
    assert done.best_epoch == done.history["val_loss"].idxmin() == 3
    assert "val_part is a number in no epoch: the best epoch is the one with the lowest loss" in (
        capsys.readouterr().out)


def normed(norm=nn.BatchNorm1d) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), norm(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("rows, batch_size", [(97, 32), (33, 32), (100, 3)])
def test_a_last_batch_of_one_sample_is_left_out_of_a_training_with_batch_norm(
        rows, batch_size, capsys):
    def loss(output, target):
        if torch.is_grad_enabled():
            sizes.append(len(target))
        return cross_entropy(output, target)

    for data in (blobs(rows), list(zip(*blobs(rows))),
                 DataLoader(TensorDataset(*blobs(rows)), batch_size)):
        sizes: list[int] = []
        trained(normed(), data, batch_size=batch_size, epochs=2, loss=loss)
        assert sizes == [batch_size] * (rows // batch_size) * 2
        assert capsys.readouterr().out.count("too few for BatchNorm") == 1
    sizes = []
    trained(network(), blobs(rows), batch_size=batch_size, epochs=1, loss=loss)
    assert sizes[-1] == 1, "without BatchNorm it counts"


def test_batches_of_one_sample_count_where_all_are():
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), norm, nn.Flatten(), nn.Linear(18, 3))
    trained(model, [torch.rand(5, 1, 4, 4), torch.arange(5) % 3],
            [torch.rand(5, 1, 4, 4), torch.arange(5) % 3], batch_size=1, epochs=1)
    assert norm.num_batches_tracked == 5


@pytest.mark.parametrize("as_dataset", [False, True])
def test_drop_last_leaves_out_a_smaller_last_batch(as_dataset):
    sizes = []

    def loss(output, target):
        if torch.is_grad_enabled():
            sizes.append(len(target))
        return cross_entropy(output, target)

    data = list(zip(*blobs(100))) if as_dataset else blobs(100)
    trained(network(), data, epochs=2, loss=loss, batch_size=32, drop_last=True)
    assert sizes == [32] * 6
    trained(network(), data, epochs=1, loss=loss, batch_size=20, drop_last=True)
    assert sizes[6:] == [20] * 5


class Embedded(nn.Module):
    """A model with an embedding, which has sparse gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.scores = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, words):
        return self.scores(self.embedding(words))


class Complex(nn.Module):
    """A model with complex weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.scores = nn.Linear(4, 3, dtype=torch.complex64)

    def forward(self, points):
        return self.scores(points.to(torch.complex64)).abs()


WORDS = [torch.arange(90) % 9, torch.arange(90) % 3]


@pytest.mark.parametrize("optimizer", [SGD, Adagrad])
def test_sparse_gradients_train_as_without_fit(optimizer):
    model, plain = Embedded(), Embedded()
    trained(model, WORDS, WORDS, batch_size=90, epochs=5, optimizer=partial(optimizer, lr=0.1))
    stepper = optimizer(plain.parameters(), lr=0.1)
    for _ in range(5):
        stepper.zero_grad()
        cross_entropy(plain(WORDS[0]), WORDS[1]).backward()
        stepper.step()
    assert all(map(torch.allclose, model.state_dict().values(), plain.state_dict().values()))


@pytest.mark.parametrize("optimizer", [SGD, Adagrad, Adam, AdamW, RMSprop])
def test_complex_weights_train(optimizer):
    model = Complex()
    done = trained(model, epochs=5, optimizer=partial(optimizer, lr=0.05))
    assert done.history["loss"].iloc[-1] < done.history["loss"].iloc[0]


@pytest.mark.parametrize("optimizer, fused", [
    (Adam, True), (AdamW, True), (SGD, True), (Adagrad, True), (RMSprop, None),
    (partial(Adam, fused=False), False), (partial(Adam, foreach=True), None),
    (partial(SGD, differentiable=True), None)])
def test_the_step_is_one_call_where_nobody_chose_and_pytorch_can(optimizer, fused):
    parameter = nn.Parameter(torch.zeros(3))
    stepper = optimizer([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    fuse_step(stepper)
    assert stepper.param_groups[0].get("fused") is fused


class Cleared(SGD):
    """An optimizer with a `zero_grad` of its own."""

    count = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.count += 1


def test_the_gradients_of_all_groups_are_cleared_and_a_zero_grad_of_ones_own_is_called():
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(2)]
    for optimizer, left in ((SGD, False), (Cleared, True)):
        stepper = optimizer([{"params": [each]} for each in parameters], lr=0.1)
        for parameter in parameters:
            parameter.grad = torch.ones(3)
        clear_gradients(stepper)
        assert [parameter.grad is not None for parameter in parameters] == [left] * 2
    assert stepper.count == 1


def test_an_optimizer_for_sparse_gradients_alone_trains():
    model = nn.Embedding(9, 3, sparse=True)
    done = trained(model, WORDS, WORDS, optimizer=partial(SparseAdam, lr=0.1))
    assert done.history["loss"].iloc[-1] < done.history["loss"].iloc[0]


class Reading(TorchFunctionMode):
    """Counts the values that are read together."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.stack:
            self.count += len(args[0])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("count", [1, CHECK_EVERY - 1, CHECK_EVERY, 2 * CHECK_EVERY + 7])
def test_means_over_many_batches_are_exact(count):
    means, weights = Means("epoch 1"), [1 + number % 3 for number in range(count)]
    for number, samples in enumerate(weights):
        means.add(samples, {"loss": torch.tensor(float(number))})
    total = sum(samples * number for number, samples in enumerate(weights))
    assert means.total() == {"loss": total / sum(weights)}


def test_a_long_epoch_reads_the_loss_of_each_batch_once():
    with Reading() as reading:
        trained(network(), blobs(2500), batch_size=1, epochs=1)
    assert reading.count == 2 * (2500 + 13)  # loss and accuracy; validation in batches of 4


def test_a_bad_loss_late_in_a_long_epoch_is_found_soon_and_named():
    means = Means("epoch 3")
    with pytest.raises(NotFinite, match=f"loss is inf in epoch 3, batch {CHECK_EVERY + 5}:"):
        for number in range(2 * CHECK_EVERY):
            means.add(1, {"loss": torch.tensor(inf if number == CHECK_EVERY + 4 else 1.0)})
