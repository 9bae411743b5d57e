"""A PyTorch training loop for the CPU, one GPU or several, which resumes after it was killed."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.training.components import combinations, train
    from taglab.training.device import choose_device
    from taglab.training.fitting import (
        Training, accuracy, evaluate, fit, make_repeatable, predict)
    from taglab.training.metrics import NotFinite, Regularised

__all__ = ["NotFinite", "Regularised", "Training", "accuracy", "choose_device", "combinations",
           "evaluate", "fit", "make_repeatable", "predict", "train"]

__getattr__ = attributes(__name__, {
    "components": ["combinations", "train"],
    "device": ["choose_device"],
    "fitting": ["Training", "accuracy", "evaluate", "fit", "make_repeatable", "predict"],
    "metrics": ["NotFinite", "Regularised"],
})
