"""Where the batches of a training come from, and what several processes share of them."""

import atexit
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn  # noqa: F401, imported later it would hold the group for good
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset, TensorDataset

# (inputs, …, targets) whose rows belong together, or what PyTorch reads samples from.
Data = Sequence[Tensor] | Dataset | DataLoader
Batch = list[Tensor]  # inputs, …, targets
Sampler = Callable[[Any], Iterable[int]]  # given the training data: the indices of one epoch


@dataclass
class Batches:
    """The batches of this process: each sample once an epoch, shared out among the processes.

    Tensors lie on the device and are indexed there; `workers` processes read a Dataset; a
    DataLoader is taken as it is. Shuffled samples that the processes cannot share evenly, a
    different few each time, are left out.
    """

    data: Data
    size: int
    device: torch.device
    shuffle: bool = False
    sampler: Sampler | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        self.tensors = as_tensors(self.data)
        if self.tensors is not None:
            self.tensors = [tensor.to(self.device) for tensor in self.tensors]
            shapes = [tuple(tensor.shape) for tensor in self.tensors]
            if len(shapes) < 2 or len({rows for rows, *_ in shapes}) > 1 or not shapes[0][0]:
                raise ValueError(f"inputs and targets need as many rows each, not {shapes}")
        elif isinstance(self.data, DataLoader) and self.shuffle and processes() > 1 and (
                not isinstance(self.data.sampler, DistributedSampler)):
            raise ValueError("every process of torchrun would see all samples: give fit a Dataset, "
                             "or a DataLoader with torch.utils.data.DistributedSampler")

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, on the device, in an order that the seed decides."""
        for batch in self._batches(seed):
            if not isinstance(batch, (list, tuple)) or len(batch) < 2:
                raise TypeError(f"a batch must hold inputs and targets, not {type(batch)}")
            yield [part.to(self.device, non_blocking=True) for part in batch]

    def _batches(self, seed: int) -> Iterable[Sequence[Tensor]]:
        if isinstance(self.data, DataLoader):
            return _reseeded(self.data, seed)
        if self.tensors and not self.shuffle:
            views = [tensor[rank()::processes()] for tensor in self.tensors]
            return zip(*(view.split(self.size) for view in views)) if len(views[0]) else ()
        order = self._order(seed)
        if self.tensors:
            return ([tensor.index_select(0, rows) for tensor in self.tensors]
                    for rows in order.to(self.device).split(self.size))
        return DataLoader(self.data, self.size, sampler=order.tolist(), num_workers=self.workers,
                          pin_memory=self.device.type == "cuda")

    def _order(self, seed: int) -> Tensor:
        """Return the indices of the samples that this process takes."""
        order = torch.arange(len(self.tensors[0] if self.tensors else self.data))
        if self.sampler:
            order = torch.tensor(gathered(list(self.sampler(self.data)))[0])
        elif self.shuffle:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
        if self.shuffle:
            order = order[:len(order) - len(order) % processes()]
        return order[rank()::processes()]


def as_tensors(data: Any) -> list[Tensor] | None:
    """Return the tensors whose rows are the samples; None for data that must be asked for each."""
    own = getattr(type(data), "__getitem__", None)  # a subclass may do more than index
    if own is Subset.__getitem__ and (whole := as_tensors(data.dataset)):
        return [tensor[torch.as_tensor(data.indices)] for tensor in whole]
    data = data.tensors if own is TensorDataset.__getitem__ else data
    is_tensors = isinstance(data, (tuple, list)) and all(isinstance(part, Tensor) for part in data)
    return list(data) if is_tensors else None


def _reseeded(loader: DataLoader, seed: int) -> DataLoader:
    """Return the loader, whose order now depends on the seed alone."""
    for source in (loader, loader.sampler):
        if isinstance(getattr(source, "generator", None), torch.Generator):
            source.generator.manual_seed(seed)
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(seed)
    return loader


def mixed(*numbers: int) -> int:
    """Return a seed made of several, unlike that of any others."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_all(*numbers: int) -> None:
    """Seed Python, NumPy and PyTorch, on every device."""
    seed = mixed(*numbers)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the random states of Python, NumPy and PyTorch as they were before the body."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def join_torchrun(device: torch.device) -> None:
    """Join the other processes that `torchrun` started, if it did."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(leave_torchrun)


def leave_torchrun() -> None:
    """Leave the others before Python ends: a thread of the group that then needs it aborts.

    After an error nobody is waited for: the others may be waiting for this process.
    """
    if dist.is_initialized() and not hasattr(sys, "last_type"):
        dist.destroy_process_group()


def processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this one is; 0 is the one that tells and keeps."""
    return dist.get_rank() if dist.is_initialized() else 0


def gathered(value: Any) -> list[Any]:
    """Return the values that the processes give; the first one's is the first."""
    values = [value] * processes()
    if processes() > 1:
        dist.all_gather_object(values, value)
    return values
