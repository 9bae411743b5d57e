"""A small convolutional network for the digits, and the digits."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits as load_bunch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


class Part(NamedTuple):
    """Images of shape (n, 1, 8, 8) and the digits that they show."""

    images: Tensor
    digits: Tensor


def load_digits() -> Part:
    """Return 1797 images of 8×8 grey values from 0 to 1, and their digits."""
    bunch = load_bunch()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    return Part(images, torch.tensor(bunch.target, dtype=torch.long))


def split(data: Part, validation_size: float, test_size: float, seed: int) -> list[Part]:
    """Return the training, validation and test parts; sizes are shares of all the data."""
    indices = np.arange(len(data.digits))
    rest, test = train_test_split(
        indices, test_size=test_size, stratify=data.digits, random_state=seed)
    train, validation = train_test_split(
        rest, test_size=validation_size / (1 - test_size), stratify=data.digits[rest],
        random_state=seed)
    return [Part(data.images[part], data.digits[part]) for part in (train, validation, test)]


def make_network(channels: int, dropout: float) -> nn.Sequential:
    """Return the network, made of PyTorch's own modules: it loads where this file is not."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * channels, 2 * channels, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * channels * 4, 10),
    )
