"""Worker processes that stay for all epochs, and trainings that resume with them."""

import contextlib
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler

from taglab.tracking import start_run
from taglab.training.data import Batches
from taglab.training.workers import SeededDataset
from tests.training.examples import Jittered, Stop, blobs, network, same, stopping, trained

CPU = torch.device("cpu")
STAYING = {"num_workers": 2, "persistent_workers": True}


class Together(Jittered):
    """Samples that are read by batch, as those of a table are."""

    def __getitems__(self, indices: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        shaken = 0.1 * torch.rand(1)
        return [(point + shaken, number) for point, number in map(self.__getitem__, indices)]


def shuffled(data: Dataset) -> DataLoader:
    return DataLoader(data, 20, shuffle=True, generator=torch.Generator(), **STAYING)


def by_sampler_of_batches(data: Dataset) -> DataLoader:
    order = RandomSampler(data, generator=torch.Generator())
    return DataLoader(data, batch_sampler=BatchSampler(order, 20, False), **STAYING)


def without_workers(data: Dataset) -> DataLoader:
    order = RandomSampler(data, generator=torch.Generator())
    return DataLoader(data, batch_sampler=BatchSampler(order, 20, False))


@pytest.mark.parametrize("make", [None, shuffled, by_sampler_of_batches, without_workers])
def test_a_training_with_workers_that_stay_resumes_with_the_same_result(
        own_store, monkeypatch, make):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))

    def data():  # new ones, as in a new process
        return make(Together()) if make else Jittered()

    options = {"epochs": 4, "batch_size": 20, **({} if make else {"workers": 2})}
    whole, model = network(dropout=0.5), network(dropout=0.5)
    expected = trained(whole, data(), data(), **options)
    # Three batches of training and of validation an epoch (one, where fit makes them).
    with contextlib.suppress(Stop), start_run("quick/main.py", {}):
        trained(network(dropout=0.5), data(), data(), loss=stopping(14 if make else 10), **options)
    assert len(list((own_store / "state" / "training").iterdir())) == 1
    with start_run("quick/main.py", {}):
        done = trained(model, data(), data(), **options)
    pd.testing.assert_frame_equal(done.history, expected.history, check_exact=True)
    assert same(model, whole)


class Reader(Dataset):
    """Samples that say which process read them, and a random number."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([float(os.getpid()), np.random.rand()]), torch.tensor(index)


def test_the_same_workers_read_all_epochs_and_their_number_changes_no_sample():
    read = {}
    for workers in (1, 2):
        batches = Batches(Reader(), 3, CPU, shuffle=True, workers=workers)
        read[workers] = [torch.cat([inputs for inputs, _ in batches.epoch(seed)])
                         for seed in (1, 2, 1)]
        processes = {*torch.cat(read[workers])[:, 0].tolist()}
        assert len(processes) == workers and os.getpid() not in processes
    (first, second, again), (other, *_) = ([epoch[:, 1] for epoch in epochs]
                                           for epochs in read.values())
    assert torch.equal(first, again) and torch.equal(first, other)
    assert not torch.equal(first, second) and len(first.unique()) == len(first)


def test_an_epoch_that_was_left_early_does_not_reach_into_the_next_one():
    batches = Batches(Reader(), 2, CPU, workers=2)
    next(batches.epoch(0))
    assert torch.cat([numbers for _, numbers in batches.epoch(1)]).tolist() == [*range(12)]


def test_a_loader_without_batches_of_its_own_is_read_too():
    loader = DataLoader([tuple(part[:4] for part in blobs())] * 2, batch_size=None, **STAYING)
    assert [len(numbers) for _, numbers in Batches(loader, 1, CPU).epoch(0)] == [4, 4]


class Opened(Reader):
    def open(self) -> None:
        self.factor = 2

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(1), torch.tensor(self.factor * index)


def open_data(worker: int) -> None:
    torch.utils.data.get_worker_info().dataset.open()


def test_the_function_that_starts_a_worker_reaches_the_dataset():
    loader = DataLoader(Opened(), 12, worker_init_fn=open_data, num_workers=1,
                        persistent_workers=True)
    [[_, numbers]] = Batches(loader, 1, CPU).epoch(0)
    assert numbers.tolist() == [*range(0, 24, 2)]


def test_the_dataset_reaches_workers_that_are_not_forked():
    copy = pickle.loads(pickle.dumps(SeededDataset(Reader())))
    assert len(copy.data) == 12 and copy[0, 0, 3][1] == 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*blobs(8)))


class OwnLoader(DataLoader):
    pass


@pytest.mark.parametrize("loader", [
    DataLoader(Stream(), 4, num_workers=1, persistent_workers=True),
    OwnLoader(Reader(), 4, num_workers=1, persistent_workers=True)])
def test_workers_that_cannot_be_seeded_are_refused(loader):
    with pytest.raises(ValueError, match="pass persistent_workers=False to it"):
        trained(network(), loader)
