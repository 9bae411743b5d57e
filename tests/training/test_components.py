import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from taglab.training.components import (
    UnknownName, as_function, combinations, import_object, instantiate, shapes, train)
from taglab.tracking.provenance import config_hash

TRAINING = {"epochs": 20, "device": "cpu", "metrics": {"accuracy": "taglab.training:accuracy"}}
CONFIG = {
    "dataset": {"class": f"{__name__}:Blobs", "rows": 90,
                "train": {"seed": 0}, "validation": {"seed": 1}},
    "model": [{"class": f"{__name__}:Dense", "hidden": hidden} for hidden in (4, 8)],
    "training": [
        {**TRAINING, "loss": "torch.nn:CrossEntropyLoss", "patience": 20,
         "optimizer": {"class": "torch.optim:Adam", "lr": 0.05},
         "sampler": {"class": "torch.utils.data:RandomSampler", "num_samples": 60},
         "schedule": {"class": "torch.optim.lr_scheduler:StepLR", "step_size": 10}},
        {**TRAINING, "optimizer": {"class": "torch.optim:SGD", "lr": 0.3},
         "loss": {"class": "torch.nn.functional:cross_entropy", "label_smoothing": 0.1}}],
}


class Blobs(TensorDataset):
    """Points of three classes."""

    def __init__(self, rows: int, seed: int):
        classes = torch.arange(rows) % 3
        noise = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
        super().__init__(noise + 2 * classes[:, None], classes)

    def additional_model_params(self) -> dict[str, float]:
        return {"dropout": 0.1}


class Dense(nn.Sequential):
    def __init__(self, input_shape, output_shape, hidden: int, dropout: float):
        super().__init__(nn.Linear(*input_shape, hidden), nn.ReLU(), nn.Dropout(dropout),
                         nn.Linear(hidden, *output_shape))


class Named(Dataset):
    classes = ["cat", "dog"]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(3, 8, 8), index % 2


def test_every_combination_trains_and_has_its_own_hash():
    configurations = combinations(CONFIG)
    assert [(each["model"]["hidden"], each["training"]["optimizer"]["lr"])
            for each in configurations] == [(4, 0.05), (4, 0.3), (8, 0.05), (8, 0.3)]
    results = [train(**each) for each in configurations]
    assert all(result["best_val_accuracy"] > 0.8 for result in results)
    assert results[0] == train(**configurations[0])
    assert len({config_hash(each) for each in configurations}) == 4
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1}) != config_hash(
        {"a": 2, "b": 1})


def test_a_configuration_can_name_another_trainer():
    [configuration] = combinations({**CONFIG, "model": CONFIG["model"][0],
                                    "training": {"trainer": f"{__name__}:Trained", "speed": 3}})
    assert train(**configuration) == {"best_speed": 3, "best_rows": 90, "best_outputs": 3}


class Trained:
    """A custom trainer; all it needs is `best`."""

    def __init__(self, model, training, validation, speed: int):
        self.best = {"speed": speed, "rows": len(training), "outputs": model[-1].out_features}


def test_a_model_gets_its_shapes_from_the_data():
    rows = torch.zeros(9, 1, 8, 8)
    assert shapes((rows, torch.arange(9))) == {"input_shape": (1, 8, 8), "output_shape": (9,)}
    assert shapes((rows, torch.zeros(9, 5)))["output_shape"] == (5,)
    assert shapes((rows, torch.zeros(9)))["output_shape"] == ()
    assert shapes(Named()) == {"input_shape": (3, 8, 8), "output_shape": (2,)}


@pytest.mark.parametrize("name, hint", [
    ("torch.optim:Adma", "torch.optim has no 'Adma'; did you mean Adam"),
    ("torch.optm:Adam", "no module 'torch.optm' for 'torch.optm:Adam'; did you mean optim"),
    ("sklaern.svm:SVC", "did you mean sklearn"),
    ("torch.nn:functional.cross_entropi", "did you mean cross_entropy"),
    ("torch.optim.Adam", "not of the form module:Class"),
])
def test_an_unknown_name_is_refused_with_similar_names(name, hint):
    with pytest.raises(UnknownName) as error:
        import_object(name)
    assert hint in str(error.value)


def test_an_unknown_parameter_is_refused_with_similar_names():
    with pytest.raises(UnknownName, match="takes no 'moment'; did you mean momentum"):
        as_function({"class": "torch.optim:SGD", "moment": 0.9})
    with pytest.raises(UnknownName, match="takes no 'hiden'; did you mean hidden"):
        instantiate({"class": f"{__name__}:Dense", "hiden": 4})


def test_a_module_that_imports_a_missing_one_is_not_called_missing_itself(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_object("needs_more:Thing")
