"""The training loop: the steps of an epoch, its validation and the weights of the best epoch."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from math import inf, isfinite
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adagrad, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from taglab.training.data import Batch
from taglab.training.distributed import world_size
from taglab.training.metrics import Means, MetricFunction, evaluate_batches, measure


@dataclass
class TrainingLoop:
    """A training between two epochs: its state, and how it gets through the next one.

    Precisions of 16 bits are mixed with 32, and float16 scales the loss: Micikevicius et al.
    (2018), Mixed precision training.

    schedule_each: "epoch" or "step".
    metrics: `loss` and any others.
    precision: of taglab.training.device.PRECISIONS.
    accumulate: batches for each step of the optimizer.
    clip: the largest norm of the gradient, or None: Pascanu et al. (2013), On the difficulty of
        training recurrent neural networks.
    epochs: how many there are at most.
    best: the metric that decides which epoch is the best; with `maximize` more of it is better.
    patience: the training is over after so many epochs without a better one, or None.
    rows: the means of each epoch so far.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    schedule_each: str
    metrics: Mapping[str, MetricFunction]
    precision: str
    device: torch.device
    accumulate: int
    clip: float | None
    epochs: int
    best: str
    maximize: bool
    patience: int | None
    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0  # counted from 1
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    has_stepped: bool = False  # in this process

    def __post_init__(self) -> None:
        self.network = DistributedDataParallel(self.model) if world_size() > 1 else self.model
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        self.autocast: AbstractContextManager[Any] = (
            nullcontext() if self.precision == "float32" else
            torch.autocast(self.device.type, getattr(torch, self.precision)))

    def train(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Train on the batches once; return the means over their samples, and the learning rate.

        Raises NotFinite when the loss is NaN or infinite.
        """
        self.network.train()
        batches, where = iter(batches), f"epoch {len(self.rows) + 1}"
        means = Means(where)
        while group := list(islice(batches, self.accumulate)):
            clear_gradients(self.optimizer)
            samples = sum(len(batch[-1]) for batch in group)
            for batch in group:
                with self._gradient_sync(batch is group[-1]):
                    means.add(*self._backward(batch, len(batch[-1]) / samples))
            self._step()
        rate = {"learning_rate": self.optimizer.param_groups[0]["lr"]} if self.schedule else {}
        return means.total() | rate

    def _gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Let the processes exchange gradients in the body only for the last batch of a step."""
        if isinstance(self.network, DistributedDataParallel) and not last:
            no_sync: AbstractContextManager[Any] = self.network.no_sync()
            return no_sync
        return nullcontext()

    def _backward(self, batch: Batch, share: float) -> tuple[int, dict[str, Tensor]]:
        """Add a batch's share of the gradient; return its number of samples and their means."""
        with self.autocast:
            loss, means = measure(self.network, batch, self.metrics)
        scaled = self.scaler.scale(loss if share == 1 else loss * share)
        scaled.backward()  # type: ignore[no-untyped-call]  # PyTorch has no types for it
        return len(batch[-1]), means

    def _step(self) -> None:
        """Clip the gradient, and move the weights and, where it moves each step, the schedule."""
        if not self.has_stepped:
            self.has_stepped = True
            fuse_step(self.optimizer)
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.schedule and self.schedule_each == "step":
            self.schedule.step()

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the means over the samples of the batches, as `val_…`.

        Raises NotFinite when the loss is NaN or infinite.
        """
        if world_size() > 1:  # each has its own running means of BatchNorm and the like
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)
        with self.autocast:
            means = evaluate_batches(self.model, batches, self.metrics,
                                     f"the validation of epoch {len(self.rows) + 1}")
        return {f"val_{name}": means[name] for name in self.metrics}

    def end_epoch(self, row: dict[str, float]) -> None:
        """Add the means of an epoch, move the schedule, and keep the weights of the best epoch."""
        self.rows.append(row)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(row[self.best])
        elif self.schedule and self.schedule_each == "epoch":
            self.schedule.step()
        if not self.best_epoch or self._cost(row) < self._cost(self.rows[self.best_epoch - 1]):
            self.best_epoch = len(self.rows)
            self.best_weights = {name: value.detach().to("cpu", copy=True)
                                 for name, value in self.model.state_dict().items()}

    def _cost(self, row: dict[str, float]) -> tuple[float, float]:
        """Return what is less for a better epoch: of equal ones, for that with the lower loss.

        NaN and infinity are worse than any number.
        """
        value = -row[self.best] if self.maximize else row[self.best]
        return (value if isfinite(value) else inf, row.get("val_loss", row["loss"]))

    def is_over(self) -> bool:
        """Return whether all epochs are done, or `patience` epochs brought no better one."""
        done, patience = len(self.rows), self.patience
        return (done >= self.epochs or
                patience is not None and 0 < patience <= done - self.best_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"parts": [part.state_dict() for part in self._stateful()], "rows": self.rows,
                "best_epoch": self.best_epoch, "best_weights": self.best_weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Return to the state that `state_dict` gave."""
        for part, kept in zip(self._stateful(), state["parts"]):
            part.load_state_dict(kept)
        self.rows, self.best_epoch = state["rows"], state["best_epoch"]
        self.best_weights = state["best_weights"]

    def _stateful(self) -> list[Any]:
        parts = (self.model, self.optimizer, self.scaler, self.schedule)
        return [part for part in parts if part is not None]


def clear_gradients(optimizer: Optimizer) -> None:
    """Forget the gradients, as `zero_grad` does, which costs 9 µs more in each small step."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad()  # its own may do more
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def fuse_step(optimizer: Optimizer) -> None:
    """Let the optimizer move all parameters in one call, where nobody chose and PyTorch can.

    It cannot for sparse gradients and complex numbers, so call this once there are gradients.
    """
    devices = (("cpu",) if isinstance(optimizer, Adagrad) else  # its state begins as not fused
               ("cpu", "cuda", "mps") if isinstance(optimizer, (Adam, SGD)) else ())
    for group in optimizer.param_groups:
        if (group.get("fused", False) is None and not group.get("foreach")
                and not group.get("differentiable")
                and all(each.is_floating_point() and each.device.type in devices
                        and (each.grad is None or each.grad.layout == torch.strided)
                        for each in group["params"])):
            group["fused"] = True
