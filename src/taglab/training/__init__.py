"""A PyTorch training loop for the CPU, one GPU or several; a stopped training resumes."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.training.components import combinations, train
    from taglab.training.fitting import (
        Training, accuracy, choose_device, evaluate, fit, make_repeatable, predict)
    from taglab.training.loop import NotFinite

__all__ = ["NotFinite", "Training", "accuracy", "choose_device", "combinations", "evaluate", "fit",
           "make_repeatable", "predict", "train"]

__getattr__ = attributes(__name__, {
    "components": ["combinations", "train"],
    "fitting": ["Training", "accuracy", "choose_device", "evaluate", "fit", "make_repeatable",
                "predict"],
    "loop": ["NotFinite"],
})
