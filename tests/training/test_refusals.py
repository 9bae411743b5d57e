"""What `fit` refuses, before the first batch, and what it says."""

from functools import partial

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from taglab.tracking import connect
from taglab.training import Regularised, accuracy, evaluate, fit, predict
from taglab.training.checks import check_metrics, is_possible, possible_name
from tests.training.examples import blobs, network, trained

LONGEST = "a" * 246  # 250 with val_


@pytest.mark.parametrize("name, possible", [
    ("hits@1", "hits_1"), ("top-5 %", "top-5 _"), ("a//b", "a/b"), ("../a", "a"), ("/a", "a"),
    ("a/../b", "b"), (".", "metric"), ("", "metric"), ("a/", "a"), (LONGEST + "b", LONGEST)])
def test_a_metric_that_mlflow_would_refuse_is_refused_before_the_training(name, possible):
    def never(output, target):
        raise AssertionError("trained")

    with pytest.raises(ValueError) as error:
        trained(network(), loss=never, metrics={name: accuracy})
    assert str(error.value).endswith(f"MLflow takes no metric {name!r}; call it {possible!r}")
    check_metrics([possible])


@given(st.text(max_size=300))
def test_the_suggested_name_is_one_that_mlflow_takes(name):
    assert is_possible(possible_name(name)) and is_possible(f"val_{possible_name(name)}")


@pytest.mark.parametrize("name", ["hits_at_1", "a/b: c-d.e", LONGEST])
def test_a_metric_that_is_not_refused_reaches_mlflow(own_store, name):
    connect()
    with mlflow.start_run() as run:
        trained(network(), epochs=1, metrics={name: accuracy})
    assert {name, f"val_{name}"} <= {*mlflow.get_run(run.info.run_id).data.metrics}


@pytest.mark.parametrize("names", [
    ["loss"], ["learning_rate"], ["regularisation"], ["val_loss"], ["hits", "val_hits"]])
def test_a_metric_does_not_take_the_name_of_another(names):
    with pytest.raises(ValueError, match=f"{names[-1]!r} is the name of something"):
        trained(network(), metrics=dict.fromkeys(names, accuracy))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*blobs(8)))


class Records(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"points": torch.zeros(4), "class": index % 3}


class Nested(Records):
    def __getitem__(self, index):
        return {"points": torch.zeros(4)}, index % 3


class Named(Records):
    def __getitem__(self, index):
        return torch.zeros(4), "cat"


ARRAYS = [part.numpy() for part in blobs()]
AS_TENSORS = "torch.as_tensor(inputs, dtype=torch.float32)"


@pytest.mark.parametrize("data, hint", [
    (ARRAYS, AS_TENSORS), (tuple(ARRAYS), AS_TENSORS), ((blobs()[0], ARRAYS[1]), AS_TENSORS),
    (np.zeros((9, 5)), AS_TENSORS), (pd.DataFrame({"a": [1.0]}), AS_TENSORS),
    ((blobs()[0], [0] * 100), AS_TENSORS),
    (Stream(), "pass DataLoader(data, batch_size=…)"),
    ({"points": blobs()[0]}, "pass (inputs, targets)"),
    (zip(*blobs()), "pass tensors, a Dataset or a DataLoader"),
    (Records(), "a dict: let the Dataset's __getitem__ return (input, …, target)"),
    (DataLoader(Records(), 4), "DataLoader whose collate_fn does"),
    (Nested(), "a dict in it"), (Named(), "a tuple in it"),
    (blobs()[0], "but it is a Tensor"), (DataLoader(blobs()[0], 4), "but it is a Tensor")])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_data_of_another_kind_are_refused_with_the_way_to_do_it(part, data, hint):
    stepped = []

    def loss(output, target):
        stepped.append(target)
        return cross_entropy(output, target)

    with pytest.raises(TypeError) as error:
        trained(network(), loss=loss, **{part: data})
    assert hint in str(error.value) and not stepped


def test_arrays_are_refused_by_predict_and_evaluate_too():
    with pytest.raises(TypeError, match="as_tensor"):
        predict(network(), ARRAYS[0])
    with pytest.raises(TypeError, match="as_tensor"):
        evaluate(network(), ARRAYS, loss=cross_entropy)


@pytest.mark.parametrize("options, message", [
    ({"optimizer": torch.optim.LBFGS}, r"LBFGS computes the loss several times .*torch.optim.Adam"),
    ({"schedule": ReduceLROnPlateau, "best": "val_accuracy", "maximize": True},
     r"mode='min', but more of val_accuracy is better: pass mode='max' to it, or maximize=False"),
    ({"schedule": partial(ReduceLROnPlateau, mode="max")},
     r"mode='max', but less of val_loss is better: pass mode='min' to it, or maximize=True to fit"),
    ({"schedule": ReduceLROnPlateau, "schedule_each": "step"}, "leave out schedule_each"),
    ({"maximize": True}, "less of val_loss is better"),
    ({"train": DataLoader(TensorDataset(*blobs()), 9), "drop_last": True}, "pass drop_last or"),
    ({"train": DataLoader(TensorDataset(*blobs()), 9), "sampler": list}, "sampler to it"),
    ({"train": blobs(20), "drop_last": True}, "drop_last leaves no batch: there are 20 samples"),
    ({"validation": DataLoader(TensorDataset(*blobs(5)), 9, drop_last=True)},
     "there is no batch in the validation of epoch 1"),
])
def test_what_cannot_be_met_is_refused_with_what_to_type(options, message):
    with pytest.raises(ValueError, match=message):
        trained(network(), **options)


class Several(nn.Module):
    """A model with two outputs; the second one is no part of the loss."""

    def __init__(self, kind=tuple):
        super().__init__()
        self.body, self.kind = network(), kind

    def forward(self, points):
        output = self.body(points)
        return self.kind([output, output.square().mean()])


@pytest.mark.parametrize("kind", [tuple, list, dict.fromkeys])
def test_a_second_output_is_no_part_of_the_loss_unless_it_is_declared(kind):
    model = Several(kind)
    for use in (lambda: trained(model), lambda: predict(model, blobs()[0]),
                lambda: evaluate(model, blobs(), loss=cross_entropy)):
        with pytest.raises(TypeError, match=r"return one tensor, or taglab.training.Regularised\("):
            use()
    declared = Several(lambda parts: Regularised(*parts))
    assert trained(declared).best["regularisation"] > 0
    assert torch.equal(predict(declared, blobs()[0]), predict(declared.body, blobs()[0]))


def test_a_training_without_validation_keeps_the_epoch_of_the_lowest_loss():
    options = {"loss": cross_entropy, "optimizer": partial(torch.optim.Adam, lr=0.01),
               "device": "cpu", "metrics": {"accuracy": accuracy}}
    done = fit(network(), blobs(), epochs=4, **options)
    assert done.history.columns.to_list() == ["loss", "accuracy"]
    assert done.best_epoch == done.history["loss"].idxmin()
    alone = fit(network(), blobs(), epochs=4, best="accuracy", maximize=True, patience=3, **options)
    assert alone.best["accuracy"] == alone.history["accuracy"].max()
    with pytest.raises(ValueError, match="best='val_loss' is not measured; known: loss, accuracy"):
        fit(network(), blobs(), epochs=1, best="val_loss", **options)
