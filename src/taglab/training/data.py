"""The batches of a training: from tensors, Datasets or DataLoaders, divided among processes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader, Dataset, DistributedSampler, IterableDataset, Subset, TensorDataset)

from taglab.training.distributed import all_gather, rank, world_size
from taglab.training.workers import reseed, seeded

# Tensors (inputs, …, targets) with a row for each sample, or what PyTorch reads samples from.
Data = Sequence[Any] | Dataset[Any] | DataLoader[Any]
Batch = list[Tensor]  # inputs, …, targets
Sampler = Callable[[Any], Iterable[int]]  # from the training data to the indices of one epoch


@dataclass
class Batches:
    """The batches of this process. In an epoch the processes read each sample once, together.

    Tensors are moved to the device and indexed there; `workers` processes read a Dataset, the same
    ones in all epochs; a DataLoader is used as it is. Where the processes cannot share shuffled
    samples evenly, the few that are left over, others in each epoch, are dropped.

    data: tensors with as many rows each, a Dataset or a DataLoader.
    size: samples in a batch of this process.
    sampler: chooses the samples of an epoch; the first process's choice is everyone's.
    drop_last: leave out the last batch of an epoch where it is smaller.
    skip_single: leave out a batch of one sample where there are larger ones, and say so once.

    Raises TypeError for data that are no such data, ValueError for those that cannot be divided
    into batches.
    """

    data: Data
    size: int
    device: torch.device
    shuffle: bool = False
    sampler: Sampler | None = None
    workers: int = 0
    drop_last: bool = False
    skip_single: bool = False

    def __post_init__(self) -> None:
        check_data(self.data)
        self.tensors = as_tensors(self.data)
        self._indices: list[int] = []  # of the samples of an epoch
        self._loader: DataLoader[Any] | None = None
        self._said = False  # that a batch was left out
        if self.tensors is not None:
            self.tensors = [tensor.to(self.device) for tensor in self.tensors]
            shapes = [tuple(tensor.shape) for tensor in self.tensors]
            if len(shapes) < 2 or len({rows for rows, *_ in shapes}) > 1 or not shapes[0][0]:
                raise ValueError("inputs and targets must have the same number of rows, at least "
                                 f"one; their shapes are {shapes}")
        elif isinstance(self.data, DataLoader):
            self._check_loader(self.data)
            self._loader = self.data
        else:
            self._loader = DataLoader(
                cast("Dataset[Any]", self.data), self.size, sampler=self._indices,
                num_workers=self.workers, persistent_workers=self.workers > 0,
                pin_memory=self.device.type == "cuda")
        if self._loader is not None and self._loader.persistent_workers:
            self._loader = seeded(self._loader)

    def _check_loader(self, loader: DataLoader[Any]) -> None:
        if self.drop_last or self.sampler:
            raise ValueError("a DataLoader makes its own batches: pass drop_last or sampler to it, "
                             "not to fit")
        if self.shuffle and world_size() > 1 and not isinstance(loader.sampler, DistributedSampler):
            raise ValueError("every process of torchrun would read all samples: pass a Dataset, "
                             "or a DataLoader with torch.utils.data.DistributedSampler")

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, on the device; the seed decides their order.

        Raises TypeError for a batch that is not made of inputs and targets.
        """
        largest = 0
        for batch in self._batches(seed):
            check_batch(batch)
            samples = len(batch[-1])
            if self.skip_single and samples == 1 < largest:
                self._say_skipped()
                continue
            largest = max(samples, largest)
            yield [part.to(self.device, non_blocking=True) for part in batch]

    def _say_skipped(self) -> None:
        if not self._said and not rank():
            print("the last batch has one sample, too few for BatchNorm: it is left out of the "
                  "training")
        self._said = True

    def _batches(self, seed: int) -> Iterable[Sequence[Tensor]]:
        if isinstance(self.data, DataLoader):
            return reseed(cast("DataLoader[Any]", self._loader), seed)
        if self.tensors and not self.shuffle:
            views = [tensor[rank()::world_size()] for tensor in self.tensors]
            return zip(*(torch.split(view, self.size) for view in views)) if len(views[0]) else ()
        order = self._order(seed)
        if self.tensors:
            tensors = self.tensors
            return ([tensor.index_select(0, rows) for tensor in tensors]
                    for rows in torch.split(order.to(self.device), self.size))
        self._indices[:] = order.tolist()
        return reseed(cast("DataLoader[Any]", self._loader), seed)

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
        order = order[rank()::world_size()]
        if self.drop_last and len(order) < self.size:
            raise ValueError(f"drop_last leaves no batch: there are {len(order)} samples, fewer "
                             f"than the {self.size} of a batch")
        return order[:len(order) - len(order) % self.size] if self.drop_last else order


def as_tensors(data: Any) -> list[Tensor] | None:
    """Return the tensors whose rows are the samples, or None for data that is read by sample."""
    getter = getattr(type(data), "__getitem__", None)  # a subclass may do more than index
    if getter is Subset.__getitem__ and (whole := as_tensors(data.dataset)):
        return [tensor[torch.as_tensor(data.indices)] for tensor in whole]
    parts = data.tensors if getter is TensorDataset.__getitem__ else data
    if isinstance(parts, (tuple, list)) and all(isinstance(part, Tensor) for part in parts):
        return list(parts)
    return None


def check_data(data: Any) -> None:
    """Raise TypeError for data that are no tensors, Dataset or DataLoader, with what to type."""
    if isinstance(data, DataLoader):
        return
    if isinstance(data, IterableDataset):
        raise TypeError("an IterableDataset has its own order: pass DataLoader(data, batch_size=…)")
    kinds = {type(part) for part in (data if isinstance(data, (list, tuple)) else [data])}
    if others := {kind for kind in kinds if not issubclass(kind, Tensor)}:
        if len(others) < len(kinds) or any(hasattr(kind, "__array__") for kind in others):
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise TypeError(f"data of the types {names}: pass tensors alone, "
                            "torch.as_tensor(inputs, dtype=torch.float32) and "
                            "torch.as_tensor(targets)")
    if isinstance(data, Mapping):
        raise TypeError("data in a dict: pass (inputs, targets)")
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise TypeError(f"a {type(data).__name__} has no length and no samples by number: pass "
                        "tensors, a Dataset or a DataLoader")


def check_batch(batch: Any) -> None:
    """Raise TypeError for a batch that is not made of inputs and targets, with what to type."""
    if isinstance(batch, (list, tuple)) and len(batch) > 1:
        others = [type(part).__name__ for part in batch if not isinstance(part, Tensor)]
        if not others:
            return
        found = f"a {others[0]} in it"
    else:
        found = f"a {type(batch).__name__}"
    raise TypeError(f"a batch must hold inputs and targets, all of them tensors, but it is {found}:"
                    " let the Dataset's __getitem__ return (input, …, target), or pass a "
                    "DataLoader whose collate_fn does")
