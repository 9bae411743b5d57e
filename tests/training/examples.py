"""Small data and networks, and their training."""

import random
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from taglab.training import accuracy, fit

ADAM = partial(torch.optim.Adam, lr=0.01)
STANDING_STILL = partial(torch.optim.SGD, lr=0.0)


def blobs(rows: int = 100, seed: int = 0) -> list[torch.Tensor]:
    """Return points of three classes that overlap a little, and their classes."""
    numbers = torch.Generator().manual_seed(seed)
    classes = torch.arange(rows) % 3
    return [torch.randn(rows, 4, generator=numbers) + classes[:, None], classes]


def network(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def trained(model: nn.Module, train=None, validation=None, **options):
    return fit(model, blobs() if train is None else train,
               blobs(50, seed=1) if validation is None else validation,
               **{"loss": cross_entropy, "optimizer": ADAM, "epochs": 3, "device": "cpu",
                  "metrics": {"accuracy": accuracy}, **options})


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


class Jittered(Dataset):
    """Samples with noise from all three random generators, like an augmentation."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        points, classes = blobs(60)
        shaken = torch.rand(4) + np.random.rand() + random.random()
        return points[index] + 0.1 * shaken, classes[index]


class Stop(Exception):
    """Interrupts a training."""


def stopping(batches: int):
    """Return a loss that raises Stop after so many batches."""
    counter = iter(range(batches))

    def loss(output, target):
        if next(counter, None) is None:
            raise Stop
        return cross_entropy(output, target)

    return loss
