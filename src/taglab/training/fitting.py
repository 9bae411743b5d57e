"""`fit`, `evaluate` and `predict`: a PyTorch training on the CPU, one GPU or several.

Under `torchrun` (see lab/docs/scaling.md) the same main.py trains in several processes, each with
its own GPU where there are GPUs; its options `--nnodes` and `--rdzv-endpoint` add machines.
`batch_size` counts the samples of all processes together, so a step, and the right learning rate,
do not depend on their number. A larger `batch_size`, to keep more GPUs busy, usually needs a
learning rate that is larger by the same factor: Goyal et al. (2017), Accurate, large minibatch
SGD.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from taglab.training.checkpoint import Checkpoint
from taglab.training.checks import (
    check_metrics, check_optimizer, check_options, check_schedule)
from taglab.training.data import Batches, Data, Sampler, check_data
from taglab.training.device import choose_device, choose_precision
from taglab.training.distributed import join_process_group, rank, world_size
from taglab.training.layout import channels_last_in, channels_last_pays
from taglab.training.logger import log_epochs
from taglab.training.loop import TrainingLoop
from taglab.training.metrics import MetricFunction, evaluate_batches, parts_of
from taglab.training.seeding import combine_seeds, preserve_random_state, seed_generators


@dataclass(frozen=True)
class Training:
    """The history of a training and its best epoch, whose weights the model has.

    history: a row for each epoch, counted from 1, and a column for each metric.
    """

    history: pd.DataFrame
    best_epoch: int

    @property
    def best(self) -> dict[str, float]:
        """The metrics of the best epoch."""
        metrics: dict[str, float] = self.history.loc[self.best_epoch].to_dict()
        return metrics


def fit(
    model: nn.Module, train: Data, validation: Data | None = None, *,
    loss: MetricFunction,                   # the mean over a batch, like PyTorch's losses
    optimizer: Callable[..., Optimizer],    # called with the parameters: partial(Adam, lr=0.001)
    epochs: int,
    batch_size: int = 32,                   # samples of all processes together
    drop_last: bool = False,                # train without the last batch where it is smaller
    accumulate: int = 1,                    # batches for each step of the optimizer
    metrics: Mapping[str, MetricFunction] | None = None,
    best: str | None = None,                # decides which epoch is the best; None: the loss
    maximize: bool = False,                 # whether more of it is better
    patience: int | None = None,            # stop after so many epochs without a better one
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    schedule_each: str = "epoch",           # or "step", for OneCycleLR (Smith & Topin, 2019)
    clip: float | None = None,              # the largest norm of the gradient
    precision: str = "float32",             # bfloat16, float16, or auto: what suits the device
    device: str = "auto",                   # or cuda, mps, cpu, cuda:1, …
    channels_last: bool | None = None,      # in memory, for Conv2d; None: where it surely pays
    seed: int = 0,                          # of data order, dropout and augmentation
    sampler: Sampler | None = None,         # from the training data to the indices of an epoch
    workers: int = 0,                       # processes that read a Dataset that is not tensors
    tensorboard: bool = False,              # write events, too; `lab tensorboard` shows them
) -> Training:
    """Train `model` and leave it on the device with the weights of its best epoch.

    The active MLflow run gets the metrics of each epoch, `loss` and those in `metrics`, and those
    of the validation data with the prefix `val_`; all are means over samples. Inside `start_run`
    a training that was killed resumes after its last checkpoint, with the same result.

    A model returns one tensor, or `Regularised(output, term)`, whose term is added to the loss.
    Where a model has BatchNorm, a last batch of one sample is left out of the training. One that is
    compiled in place, `model.compile(dynamic=False, options={"fallback_random": True})`, trains and
    resumes like any other.

    train, validation: tensors (inputs, …, targets) with a row for each sample, a Dataset or a
        DataLoader. Without validation data the best epoch is that of the lowest training loss.

    Raises ValueError for options that cannot be met, TypeError for data and outputs of another
    kind, NotFinite when a loss is NaN or infinite.
    """
    target = choose_device(device)
    join_process_group(target)
    check_metrics(metrics or {})
    measured = {"loss": loss, **(metrics or {})}
    known = [*measured, *(f"val_{name}" for name in measured if validation is not None)]
    best = best or ("loss" if validation is None else "val_loss")
    check_options(epochs, batch_size, best, maximize, known, schedule_each)
    with preserve_random_state(target):
        seed_generators(seed, rank())
        if channels_last is None:
            channels_last = channels_last_pays(model, target)
        with channels_last_in(model, channels_last):
            stepper = optimizer(model.to(target).parameters())
            check_optimizer(stepper)
            moved = schedule and schedule(stepper)
            check_schedule(moved, schedule_each, best, maximize)
            loop = TrainingLoop(model, stepper, moved, schedule_each, measured,
                                choose_precision(precision, target), target, accumulate, clip,
                                epochs, best, maximize, patience)
            seen = Batches(train, batch_size // world_size(), target, True, sampler, workers,
                           drop_last, skip_single=has_batch_norm(model))
            unseen = None if validation is None else Batches(
                validation, 4 * batch_size // world_size(), target, workers=workers)
            checkpoint = Checkpoint(
                loop.state_dict(), first_batch(seen, seed), first_batch(unseen, seed), epochs,
                batch_size, drop_last, accumulate, best, maximize, patience, schedule_each, clip,
                precision, channels_last, seed)
            run_epochs(loop, seen, unseen, checkpoint, seed, tensorboard)
            model.load_state_dict(loop.best_weights)
        checkpoint.delete()
    return finished(loop)


def run_epochs(
    loop: TrainingLoop, seen: Batches, unseen: Batches | None, checkpoint: Checkpoint, seed: int,
    tensorboard: bool
) -> None:
    """Run the epochs that the checkpoint does not hold; log all of them.

    seen, unseen: the batches of the training and the validation data.
    """
    if state := checkpoint.load():
        loop.load_state_dict(state)
    with log_epochs(loop.epochs, loop.rows, tensorboard) as logger:
        while not loop.is_over():
            epoch = len(loop.rows) + 1
            # An epoch depends on no earlier one, so that it is the same after resuming.
            seed_generators(seed, rank(), epoch)
            row = loop.train(logger.follow(seen.epoch(combine_seeds(seed, epoch))))
            if unseen:
                row |= loop.validate(logger.follow(unseen.epoch(0)))
            loop.end_epoch(row)
            logger.log(epoch, row, loop.model)
            checkpoint.save_if_due(loop.state_dict)


def finished(loop: TrainingLoop) -> Training:
    """Return what a training was; say so where no epoch has a number by which it is the best."""
    index = pd.RangeIndex(1, len(loop.rows) + 1, name="epoch")
    done = Training(pd.DataFrame(loop.rows, index=index), loop.best_epoch)
    if not isfinite(done.best[loop.best]) and not rank():
        print(f"{loop.best} is a number in no epoch: the best epoch is the one with the lowest "
              "loss")
    return done


def first_batch(batches: Batches | None, seed: int) -> list[Tensor] | None:
    """Return the first batch of an epoch, or None where there is none."""
    return next(batches.epoch(seed), None) if batches else None


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a model has a layer that needs more than one sample to train."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return any(isinstance(module, kinds) for module in model.modules())


def evaluate(
    model: nn.Module, data: Data, *, loss: MetricFunction,
    metrics: Mapping[str, MetricFunction] | None = None, batch_size: int = 1024,
) -> dict[str, float]:
    """Return the means over all samples of the loss and the metrics, on the model's device.

    Under torchrun every process has to call it: each takes its share of the samples.

    Raises NotFinite when the loss is NaN or infinite.
    """
    batches = Batches(data, batch_size, next(model.parameters()).device).epoch(0)
    return evaluate_batches(model, batches, {"loss": loss, **(metrics or {})}, "the evaluation")


@torch.no_grad()
def predict(model: nn.Module, *inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """Return the model's outputs, on the CPU: a row for each row of the inputs."""
    check_data(inputs)
    model.eval()
    device, outputs = next(model.parameters()).device, []
    for rows in zip(*(torch.split(tensor, batch_size) for tensor in inputs)):
        output, _ = parts_of(model(*(part.to(device) for part in rows)))
        outputs.append(output.cpu())
    return torch.cat(outputs)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return whether the highest score is that of the right class, for each sample.

    output: scores of shape (samples, classes).
    target: class numbers of shape (samples,).
    """
    return output.argmax(1) == target


def make_repeatable(seed: int, threads: int | None = None) -> None:
    """Make the same seed give the same numbers; call it before the model is made.

    threads: so many on every machine, as results also depend on the number of cores.
    """
    seed_generators(seed)
    if threads:
        torch.set_num_threads(threads)
    # PyTorch is deterministic on a CPU, and the call takes a second.
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
