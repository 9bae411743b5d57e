"""The layout of images in memory, by which a network of convolutions is faster."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# Layers that are as fast or faster with channels last, and fit without a `view` of their outputs.
# Normalisation of groups or layers is slower, and what a module of its own does is not known.
LAYERS = {
    nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.LeakyReLU, nn.ELU,
    nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softmax, nn.LogSoftmax, nn.Identity}


def channels_last_pays(model: nn.Module, device: torch.device) -> bool:
    """Return whether a network is known to train faster with the channels last in memory.

    That is so on a CPU for convolutions of images up to a Flatten, all in a Sequential.
    """
    kinds = {type(module) for module in model.modules()}
    return device.type == "cpu" and {nn.Conv2d, nn.Flatten} <= kinds <= LAYERS


@contextmanager
def channels_last_in(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Run the body with the channels last in a model's memory, where wanted; then put them back."""
    if wanted:
        _set_layout(model, torch.channels_last)
    try:
        yield
    finally:
        if wanted:
            _set_layout(model, torch.contiguous_format)


def _set_layout(model: nn.Module, layout: torch.memory_format) -> None:
    model.to(memory_format=layout)  # type: ignore[call-overload]  # missing in PyTorch's types
