"""Worker processes that read a Dataset in all epochs, and in each of them give what new ones would.

Workers that stay save the time to start them, but the random generators in them would go on from
epoch to epoch, and a training that resumes would get other samples. So each batch is read with
seeds of its own: it is the same whichever worker reads it, and after whatever it has read before.
"""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from taglab.training.seeding import seed_generators

Seeded = tuple[int, int, Any]  # the seed of the epoch, the number of the batch, its indices


class SeededDataset(Dataset[Any]):
    """A Dataset that is read by batch, and seeds the generators of its process before each."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __getitem__(self, item: Seeded) -> Any:
        seed, number, index = item
        seed_generators(seed, number)
        return self.data[index]

    def __getitems__(self, item: Seeded) -> Any:
        seed, number, indices = item
        seed_generators(seed, number)
        whole = getattr(self.data, "__getitems__", None)
        return whole(indices) if whole else [self.data[index] for index in indices]

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the Dataset, for functions that workers call when they start."""
        if name == "data" or name.startswith("__"):  # while it is unpickled it has no data yet
            raise AttributeError(name)
        return getattr(self.data, name)


class SeededSampler:
    """The batches of a sampler, each with the seed of the epoch and its number."""

    def __init__(self, sampler: Iterable[Any]) -> None:
        self.sampler, self._seed = sampler, 0

    def set_epoch(self, seed: int) -> None:
        """Set the seed of the epoch that begins next."""
        self._seed = seed

    def __iter__(self) -> Iterator[Seeded]:
        seed = self._seed
        return ((seed, number, indices) for number, indices in enumerate(self.sampler))

    def __len__(self) -> int:
        return len(cast(Sized, self.sampler))


def seeded(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a DataLoader with persistent workers that reads what this one reads, with seeds.

    Raises ValueError for one whose workers cannot be seeded for each batch.
    """
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        raise ValueError(
            f"persistent workers of {type(loader).__name__} with {type(loader.dataset).__name__} "
            "would not give the same samples after resuming: pass persistent_workers=False to it")
    samplers: dict[str, Any] = (
        {"sampler": SeededSampler(loader.sampler), "batch_size": None}
        if loader.batch_sampler is None else
        {"batch_sampler": SeededSampler(loader.batch_sampler)})
    return DataLoader(
        SeededDataset(loader.dataset), **samplers, num_workers=loader.num_workers,
        collate_fn=loader.collate_fn, pin_memory=loader.pin_memory, timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor, persistent_workers=True, in_order=loader.in_order,
        generator=torch.Generator())  # else it draws from PyTorch's, once for all epochs


def reseed(loader: DataLoader[Any], seed: int) -> DataLoader[Any]:
    """Return the loader, whose order and whose samples now depend on the seed alone."""
    sources: list[Any] = [loader, loader.sampler]
    sampler: Any = loader.batch_sampler
    while sampler is not None:  # a sampler of batches has another one inside, and that maybe too
        sources.append(sampler)
        sampler = getattr(sampler, "sampler", None)
    for source in sources:
        if isinstance(generator := getattr(source, "generator", None), torch.Generator):
            generator.manual_seed(seed)
        if set_epoch := getattr(source, "set_epoch", None):
            set_epoch(seed)
    return loader
