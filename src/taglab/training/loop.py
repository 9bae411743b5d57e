"""A training between two epochs: how it gets through one, and what is kept of it meanwhile."""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import fsspec
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from taglab.lab import lab_root, state_folder
from taglab.tracking.provenance import uncommitted_patch
from taglab.training.data import Batch, gathered, processes, rank

Measure = Callable[[Tensor, Tensor], Tensor]  # of output and target: a mean, or a value a sample
PRECISIONS = ("float32", "bfloat16", "float16")
LOOK_EVERY = 1000  # batches; to look is to wait for the device
SHARE = 20  # at most one part in so many of the time goes into checkpoints


class NotFinite(ArithmeticError):
    """A loss that is NaN or infinite; the message names the epoch and the batch."""


@dataclass
class Loop:
    """A training between two epochs: what changes in it, and the rules of a step."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    schedule_each: str
    measures: Mapping[str, Measure]
    precision: str
    place: torch.device
    accumulate: int
    clip: float | None
    rows: list[dict[str, float]] = field(default_factory=list)  # the means of each epoch
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network = DistributedDataParallel(self.model) if processes() > 1 else self.model
        self.scaler = torch.amp.GradScaler(self.place.type, enabled=self.precision == "float16")
        self.autocast = nullcontext() if self.precision == "float32" else torch.autocast(
            self.place.type, getattr(torch, self.precision))
        self.stateful = [part for part in (self.model, self.optimizer, self.scaler, self.schedule)
                         if part is not None]
        for group in self.optimizer.param_groups:
            if group.get("fused", False) is None and not group.get("foreach"):
                group["fused"] = True  # one call for all parameters, where nobody chose

    def train(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Go once through the batches and return the means over their samples."""
        self.network.train()
        batches, seen, where = iter(batches), [], f"epoch {len(self.rows) + 1}"
        while group := list(islice(batches, self.accumulate)):
            self.optimizer.zero_grad()
            samples = sum(len(batch[-1]) for batch in group)
            for batch in group:
                # The gradients go to the other processes with the last batch of a step.
                wait = processes() > 1 and batch is not group[-1]
                with self.network.no_sync() if wait else nullcontext():
                    with self.autocast:
                        loss, means = measured(self.network, batch, self.measures)
                    seen.append((len(batch[-1]), means))
                    share = len(batch[-1]) / samples
                    self.scaler.scale(loss if share == 1 else loss * share).backward()
                if len(seen) % LOOK_EVERY == 0:
                    averages(seen, where)
            if self.clip is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.schedule and self.schedule_each == "step":
                self.schedule.step()
        more = {"learning_rate": self.optimizer.param_groups[0]["lr"]} if self.schedule else {}
        return averages(seen, where) | more

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the means over the samples of the batches, as `val_…`."""
        if processes() > 1:  # each has its own running means of BatchNorm and the like
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)
        with self.autocast:
            means = evaluated(self.model, batches, self.measures,
                              f"the validation of epoch {len(self.rows) + 1}")
        return {f"val_{name}": means[name] for name in self.measures}

    def end_epoch(self, row: dict[str, float], best: str, maximize: bool) -> None:
        """Add an epoch; move the schedule; keep the weights of the best (of equals by val_loss)."""
        self.rows.append(row)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(row[best])
        elif self.schedule and self.schedule_each == "epoch":
            self.schedule.step()

        def cost(row: dict[str, float]) -> tuple[float, float]:
            return (-row[best] if maximize else row[best], row["val_loss"])

        if not self.best_epoch or cost(row) < cost(self.rows[self.best_epoch - 1]):
            self.best_epoch = len(self.rows)
            self.best_weights = {name: value.detach().to("cpu", copy=True)
                                 for name, value in self.model.state_dict().items()}

    def state(self) -> tuple[Any, ...]:
        """Return what `go_back` takes."""
        parts = [part.state_dict() for part in self.stateful]
        return parts, self.rows, self.best_epoch, self.best_weights

    def go_back(self, state: tuple[Any, ...]) -> None:
        """Become as it was when `state` was taken."""
        parts, self.rows, self.best_epoch, self.best_weights = state
        for part, kept in zip(self.stateful, parts):
            part.load_state_dict(kept)


@torch.no_grad()
def evaluated(model: nn.Module, batches: Iterable[Batch], measures: Mapping[str, Measure],
              where: str) -> dict[str, float]:
    """Return the means over the samples of the batches."""
    model.eval()
    seen = [(len(batch[-1]), measured(model, batch, measures)[1]) for batch in batches]
    return averages(seen, where)


def measured(
    network: nn.Module, batch: Batch, measures: Mapping[str, Measure]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Put a batch through the network; return the loss to lower, and the means by name.

    A network returns its output, or its output and a regularisation to add to the loss.
    """
    *inputs, target = batch
    output = network(*inputs)
    output, more = output if isinstance(output, tuple) else (output, None)
    loss = measures["loss"](output, target)
    loss = loss.mean() if loss.ndim else loss
    output, means = output.detach(), {"loss": loss.detach()}
    exact = torch.float32 if output.is_mps else torch.float64  # Apple's GPUs know no 64 bits
    for name, measure in measures.items():
        if name != "loss":
            means[name] = measure(output, target).mean(dtype=exact)
    if more is not None:
        loss, means["regularisation"] = loss + more, torch.as_tensor(more).detach()
    return loss, means


def averages(seen: list[tuple[int, dict[str, Tensor]]], where: str) -> dict[str, float]:
    """Return the means over the samples of all processes, given the size and means of each batch.

    A loss that is not finite stops all.
    """
    sizes = torch.tensor([size for size, _ in seen], dtype=torch.float64)
    sums = {}
    for name in seen[0][1] if seen else ():
        values = torch.stack([means[name] for _, means in seen]).cpu().double()
        finite = values.isfinite()
        if name in ("loss", "regularisation") and not finite.all():
            first = int(finite.int().argmin())
            raise NotFinite(f"{name} is {values[first]:g} in {where}, batch {first + 1}: try a "
                            "smaller learning rate or clip=1, and look for such values in the data")
        sums[name] = float(values @ sizes)
    parts = [part for part in gathered((float(sizes.sum()), sums)) if part[0]]
    samples = sum(count for count, _ in parts)
    return {name: sum(each[name] for _, each in parts) / samples for name in parts[0][1]}


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision of that name; "auto" is 16 bits on a GPU, in the form it knows."""
    if name not in ("auto", *PRECISIONS):
        raise ValueError(f"precision {name!r} is none of auto, {', '.join(PRECISIONS)}")
    if name != "auto" or device.type != "cuda":
        return name.replace("auto", "float32")
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


class Checkpoint:
    """The file of one training under LAB_STATE, read and written by the first process.

    Its name is made of the code, the configuration and `facts`. Outside `start_run` nothing says
    which code it is, and there is no file.
    """

    def __init__(self, *facts: Any):
        tags = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}"))
        self.files, root = fsspec.url_to_fs(os.environ.get("LAB_STATE") or state_folder())
        self.folder, self.path, self.due = f"{root}/training", None, 0.0
        if "process" in tags and not rank():
            self.path = f"{self.folder}/{tags['process']}-{digest(tags, facts)}.pt"

    def load(self) -> Any:
        """Return for every process what was kept; None when there is nothing to go on with."""
        kept = None
        if self.path and self.files.exists(self.path):
            with self.files.open(self.path, "rb") as file:
                kept = torch.load(file, map_location="cpu", weights_only=False)
        return gathered(kept)[0]

    def save_if_due(self, state: Callable[[], Any]) -> None:
        """Keep the state, whole or not at all, unless too much time went into that lately."""
        started = time.monotonic()
        if not self.path or started < self.due:
            return
        self.files.makedirs(self.folder, exist_ok=True)
        draft = f"{self.path}.{os.getpid()}"
        with self.files.open(draft, "wb") as file:
            torch.save(state(), file)
        self.files.mv(draft, self.path)
        now = time.monotonic()
        self.due = now + SHARE * (now - started)

    def remove(self) -> None:
        """Forget this training, which is finished."""
        if self.path and self.files.exists(self.path):
            self.files.rm(self.path)


def digest(tags: dict[str, str], facts: Any) -> str:
    """Return a hash of what makes a training the one it is."""
    # The trials of a search run side by side, each with the run that it was given.
    known = [tags["process"], tags.get("config_hash"), tags.get("commit"),
             os.environ.get("MLFLOW_RUN_ID")]
    patch = uncommitted_patch(lab_root()) if tags.get("dirty") != "false" else b""
    saved = io.BytesIO()
    torch.save(facts, saved)
    return hashlib.sha256(json.dumps(known).encode() + patch + saved.getvalue()).hexdigest()[:16]
