"""The batches of a training: from tensors, Datasets or DataLoaders, divided among processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset, TensorDataset

from taglab.training.distributed import all_gather, rank, world_size

# Tensors (inputs, …, targets) with a row for each sample, or what PyTorch reads samples from.
Data = Sequence[Any] | Dataset[Any] | DataLoader[Any]
Batch = list[Tensor]  # inputs, …, targets
Sampler = Callable[[Any], Iterable[int]]  # from the training data to the indices of one epoch


@dataclass
class Batches:
    """The batches of this process. In an epoch the processes read each sample once, together.

    Tensors are moved to the device and indexed there; `workers` processes read a Dataset; a
    DataLoader is used as it is. Where the processes cannot share shuffled samples evenly, the few
    that are left over, others in each epoch, are dropped.

    data: tensors with as many rows each, a Dataset or a DataLoader.
    size: samples in a batch of this process.
    sampler: chooses the samples of an epoch; the first process's choice is everyone's.

    Raises ValueError for data that cannot be divided into batches.
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
                raise ValueError("inputs and targets must have the same number of rows, at least "
                                 f"one; their shapes are {shapes}")
        elif isinstance(self.data, DataLoader) and self.shuffle and world_size() > 1 and (
                not isinstance(self.data.sampler, DistributedSampler)):
            raise ValueError("every process of torchrun would read all samples: pass a Dataset, "
                             "or a DataLoader with torch.utils.data.DistributedSampler")

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, on the device; the seed decides their order.

        Raises TypeError for a batch without targets.
        """
        for batch in self._batches(seed):
            if not isinstance(batch, (list, tuple)) or len(batch) < 2:
                raise TypeError(f"a batch must hold inputs and targets, but it is {type(batch)}")
            yield [part.to(self.device, non_blocking=True) for part in batch]

    def _batches(self, seed: int) -> Iterable[Sequence[Tensor]]:
        if isinstance(self.data, DataLoader):
            return _reseed(self.data, seed)
        if self.tensors and not self.shuffle:
            views = [tensor[rank()::world_size()] for tensor in self.tensors]
            return zip(*(torch.split(view, self.size) for view in views)) if len(views[0]) else ()
        order = self._order(seed)
        if self.tensors:
            tensors = self.tensors
            return ([tensor.index_select(0, rows) for tensor in tensors]
                    for rows in torch.split(order.to(self.device), self.size))
        return DataLoader(cast("Dataset[Any]", self.data), self.size, sampler=order.tolist(),
                          num_workers=self.workers, pin_memory=self.device.type == "cuda")

    def _order(self, seed: int) -> Tensor:
        """Return the indices of the samples that this process reads."""
        order = torch.arange(
            len(self.tensors[0]) if self.tensors else len(cast(Sized, self.data)))
        if self.sampler:
            order = torch.tensor(all_gather(list(self.sampler(self.data)))[0])
        elif self.shuffle:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
        if self.shuffle:
            order = order[:len(order) - len(order) % world_size()]
        return order[rank()::world_size()]


def as_tensors(data: Any) -> list[Tensor] | None:
    """Return the tensors whose rows are the samples, or None for data that is read by sample."""
    getter = getattr(type(data), "__getitem__", None)  # a subclass may do more than index
    if getter is Subset.__getitem__ and (whole := as_tensors(data.dataset)):
        return [tensor[torch.as_tensor(data.indices)] for tensor in whole]
    parts = data.tensors if getter is TensorDataset.__getitem__ else data
    if isinstance(parts, (tuple, list)) and all(isinstance(part, Tensor) for part in parts):
        return list(parts)
    return None


def _reseed(loader: DataLoader[Any], seed: int) -> DataLoader[Any]:
    """Return the loader, whose order now depends on the seed alone."""
    for source in (loader, loader.sampler):
        if isinstance(generator := getattr(source, "generator", None), torch.Generator):
            generator.manual_seed(seed)
    if set_epoch := getattr(loader.sampler, "set_epoch", None):
        set_epoch(seed)
    return loader
