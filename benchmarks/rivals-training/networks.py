"""What is trained: a network with its data."""
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A network, its data and where it is trained."""

    model: nn.Module
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    device: str
    batch: int = 128
    repeat: int = 1  # so many times the epochs, where one is short


def digits(device: str) -> Case:
    """Return pytorch_example's network and its digits."""
    from convnet import load_digits, make_network, split
    train, validation, _ = split(load_digits(), 0.15, 0.2, seed=0)
    return Case(make_network(channels=16, dropout=0.3), tuple(train), tuple(validation), device,
                repeat=5)


def two_layers(device: str) -> Case:
    """Return a two-layer network and rows like those of MNIST, of which nothing can be learned."""
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return Case(model, rows(60_000), rows(10_000), device)


def wide(device: str) -> Case:
    """Return a network that is large enough for 16 bits to matter."""
    layers = [layer for _ in range(6) for layer in (nn.Linear(4096, 4096), nn.ReLU())]
    model = nn.Sequential(nn.Linear(784, 4096), nn.ReLU(), *layers, nn.Linear(4096, 10))
    return Case(model, rows(60_000), rows(10_000), device, batch=2048)


def rows(count: int) -> tuple[Tensor, Tensor]:
    """Return random rows and classes."""
    return torch.randn(count, 784), torch.randint(10, (count,))


NETWORKS = {"digits": digits, "two-layers": two_layers, "wide": wide}
