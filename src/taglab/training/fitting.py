"""A PyTorch training loop for the CPU, one GPU or several; a training that was stopped goes on.

Under `torchrun` (see lab/docs/scaling.md) the same main.py trains in several processes, each with
its GPU where there are any; several machines take its `--nnodes` and `--rdzv-endpoint`.
`batch_size` counts the samples of all processes together: a step is the same however many they
are, and so is the right learning rate. Who raises `batch_size` to keep more GPUs busy usually
raises the learning rate by the same factor.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from taglab.training.data import (
    Batches, Data, Sampler, join_torchrun, mixed, own_randomness, processes, rank, seed_all)
from taglab.training.loop import Checkpoint, Loop, Measure, NotFinite, choose_precision, evaluated
from taglab.training.report import Report

__all__ = ["NotFinite", "Training", "accuracy", "choose_device", "evaluate", "fit",
           "make_repeatable", "predict"]


@dataclass(frozen=True)
class Training:
    """What came out: the metrics by epoch, and the epoch whose weights the model has now."""

    history: pd.DataFrame
    best_epoch: int

    @property
    def best(self) -> dict[str, float]:
        """The metrics of the best epoch."""
        return self.history.loc[self.best_epoch].to_dict()


def fit(
    model: nn.Module, train: Data, validation: Data, *,
    loss: Measure,                          # the mean over a batch, as PyTorch's losses give it
    optimizer: Callable[..., Optimizer],    # given the parameters: partial(Adam, lr=0.001)
    epochs: int,
    batch_size: int = 32,                   # samples of all processes together
    accumulate: int = 1,                    # batches for each step of the optimizer
    metrics: Mapping[str, Measure] | None = None,
    best: str = "val_loss",                 # the number that says which epoch is the best
    maximize: bool = False,                 # whether more of it is better
    patience: int | None = None,            # stop after so many epochs without a better one
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    schedule_each: str = "epoch",           # or "step", for OneCycleLR and the like
    clip: float | None = None,              # the largest norm of the gradient
    precision: str = "float32",             # bfloat16, float16, or auto: what suits the device
    device: str = "auto",                   # or cuda, mps, cpu, cuda:1, …
    seed: int = 0,                          # of data order, dropout and augmentation
    sampler: Sampler | None = None,         # given the training data: the indices of an epoch
    workers: int = 0,                       # processes that read Datasets which are not tensors
    tensorboard: bool = False,              # write events too; `lab tensorboard` shows them
) -> Training:
    """Train `model` and leave it on the device with the weights of its best epoch.

    The active MLflow run gets the metrics of each epoch, `loss` and those of `metrics`, and with
    `val_` before the name those of the validation part; all are means over samples. Inside
    `start_run` a training that was killed goes on after its last epoch, with the same result.
    """
    place = choose_device(device)
    join_torchrun(place)
    measures = {"loss": loss, **(metrics or {})}
    check_options(epochs, batch_size, best, measures, schedule_each)
    report = Report()
    with own_randomness(place):
        seed_all(seed, rank())
        stepper = optimizer(model.to(place).parameters())
        loop = Loop(model, stepper, schedule and schedule(stepper), schedule_each, measures,
                    choose_precision(precision, place), place, accumulate, clip)
        seen = Batches(train, batch_size // processes(), place, True, sampler, workers)
        unseen = Batches(validation, 4 * batch_size // processes(), place, workers=workers)
        checkpoint = Checkpoint(
            loop.state(), next(seen.epoch(seed)), next(unseen.epoch(seed), None), epochs,
            batch_size, accumulate, best, maximize, patience, schedule_each, clip, precision, seed)
        if kept := checkpoint.load():
            loop.go_back(kept)
        with report.open(epochs, loop.rows, tensorboard):
            while (done := len(loop.rows)) < epochs and not (
                    patience and done - loop.best_epoch >= patience):
                epoch = done + 1
                seed_all(seed, rank(), epoch)  # so that no epoch needs what was before it
                row = loop.train(report.beside(seen.epoch(mixed(seed, epoch))))
                row |= loop.validate(report.beside(unseen.epoch(0)))
                loop.end_epoch(row, best, maximize)
                report.epoch(epoch, row, model)
                checkpoint.save_if_due(loop.state)
        model.load_state_dict(loop.best_weights)
        checkpoint.remove()
    epochs_done = pd.RangeIndex(1, len(loop.rows) + 1, name="epoch")
    return Training(pd.DataFrame(loop.rows, index=epochs_done), loop.best_epoch)


def evaluate(
    model: nn.Module, data: Data, *, loss: Measure, metrics: Mapping[str, Measure] | None = None,
    batch_size: int = 1024,
) -> dict[str, float]:
    """Return the means over all samples of the loss and the metrics, on the model's device.

    Under torchrun every process has to call it: each takes its share of the samples.
    """
    batches = Batches(data, batch_size, next(model.parameters()).device).epoch(0)
    return evaluated(model, batches, {"loss": loss, **(metrics or {})}, "the evaluation")


@torch.no_grad()
def predict(model: nn.Module, *inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """Return what the model makes of inputs, on the CPU: a row for each row of theirs."""
    model.eval()
    device, outputs = next(model.parameters()).device, []
    for rows in zip(*(tensor.split(batch_size) for tensor in inputs)):
        output = model(*(part.to(device) for part in rows))
        outputs.append((output[0] if isinstance(output, tuple) else output).cpu())
    return torch.cat(outputs)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Say of each sample whether its highest score is that of its class: a metric for `fit`."""
    return output.argmax(1) == target


def make_repeatable(seed: int, threads: int | None = None) -> None:
    """Let the same seed give the same numbers; call it before the model is made.

    With `threads` they are the same on machines with more or fewer cores, too.
    """
    seed_all(seed)
    if threads:
        torch.set_num_threads(threads)
    # What PyTorch has for a CPU is deterministic, and the call takes a second.
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is this process's GPU, Apple's, or the CPU."""
    if name == "auto":
        name = ("cuda" if torch.cuda.is_available() else
                "mps" if torch.backends.mps.is_available() else "cpu")
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)


def check_options(
    epochs: int, batch_size: int, best: str, measures: Mapping[str, Measure], schedule_each: str
) -> None:
    """Refuse what cannot be done before anything is done."""
    known = [*measures, *(f"val_{name}" for name in measures)]
    if best not in known:
        raise ValueError(f"best={best!r} is not measured; known: {', '.join(known)}")
    if epochs < 1 or batch_size < 1 or batch_size % processes():
        raise ValueError(f"epochs={epochs} must be 1 or more, batch_size={batch_size} a multiple "
                         f"of the number of processes, {processes()}")
    if schedule_each not in ("epoch", "step"):
        raise ValueError(f"schedule_each={schedule_each!r} is neither 'epoch' nor 'step'")
