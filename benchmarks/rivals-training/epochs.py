"""Seconds an epoch of one network in each loop, in turns. Type: epochs.py NETWORK DEVICE ROUNDS

On a CPU: one thread, and the seconds that it computed, which other processes change little.
"""
import contextlib
import copy
import io
import json
import logging
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time

import lightning
import torch
from taglab.training import accuracy, fit
from networks import NETWORKS, Case
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

MORE = 3  # epochs that a long training has more than a short one: start and end do not count
ADAM = partial(torch.optim.Adam, lr=0.001)  # its step is not fused unless `fit` makes it so
FUSED, NOT_FUSED = partial(ADAM, fused=True), partial(ADAM, fused=False)


def lib_training(case: Case, model: nn.Module, epochs: int, precision: str = "float32",
                 adam: Callable[..., torch.optim.Optimizer] = ADAM,
                 channels_last: bool | None = None) -> None:
    """Train with the lab's `fit`."""
    fit(model, case.train, case.validation, loss=cross_entropy, metrics={"accuracy": accuracy},
        optimizer=adam, epochs=epochs, batch_size=case.batch, device=case.device,
        precision=precision, channels_last=channels_last)


def by_hand(case: Case, model: nn.Module, epochs: int,
            adam: Callable[..., torch.optim.Optimizer] = NOT_FUSED) -> None:
    """Train with a loop over tensors that measures the same and waits for nothing: the limit."""
    model.to(case.device)
    if case.device == "cpu" and any(isinstance(part, nn.Conv2d) for part in model.modules()):
        model.to(memory_format=torch.channels_last)  # as `fit` does
    train = [tensor.to(case.device) for tensor in case.train]
    validation = [tensor.to(case.device) for tensor in case.validation]
    optimizer, count = adam(model.parameters()), len(train[0])
    for _ in range(epochs):
        model.train()
        losses, hits = [], []
        for rows in torch.randperm(count).to(case.device).split(case.batch):
            inputs, targets = train[0][rows], train[1][rows]
            output = model(inputs)
            loss = cross_entropy(output, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach() * len(rows))
            hits.append((output.detach().argmax(1) == targets).sum())
        model.eval()
        with torch.no_grad():
            for inputs, targets in zip(*(part.split(4 * case.batch) for part in validation)):
                output = model(inputs)
                losses.append(cross_entropy(output, targets) * len(inputs))
                hits.append((output.argmax(1) == targets).sum())
        torch.stack(losses).sum().item(), torch.stack(hits).sum().item()


def plain(case: Case, model: nn.Module, epochs: int) -> None:
    """Train with the loop of the tutorials: a DataLoader, and `.item()` for each batch."""
    model.to(case.device)
    train = DataLoader(TensorDataset(*case.train), case.batch, shuffle=True)
    validation = DataLoader(TensorDataset(*case.validation), 4 * case.batch)
    optimizer = ADAM(model.parameters())
    for _ in range(epochs):
        model.train()
        total = hits = 0
        for inputs, targets in train:
            inputs, targets = inputs.to(case.device), targets.to(case.device)
            optimizer.zero_grad()
            output = model(inputs)
            loss = cross_entropy(output, targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
            hits += (output.argmax(1) == targets).sum().item()
        model.eval()
        with torch.no_grad():
            for inputs, targets in validation:
                inputs, targets = inputs.to(case.device), targets.to(case.device)
                output = model(inputs)
                total += cross_entropy(output, targets).item() * len(inputs)
                hits += (output.argmax(1) == targets).sum().item()


class Module(lightning.LightningModule):
    """The same training as Lightning wants it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def step(self, batch: list[torch.Tensor], name: str) -> torch.Tensor:
        inputs, targets = batch
        output = self.model(inputs)
        loss = cross_entropy(output, targets)
        hits = (output.argmax(1) == targets).float().mean()
        self.log_dict({f"{name}loss": loss, f"{name}accuracy": hits}, on_step=False,
                      on_epoch=True, batch_size=len(inputs))
        return loss

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return self.step(batch, "")

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        self.step(batch, "val_")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return ADAM(self.parameters())


def with_lightning(case: Case, model: nn.Module, epochs: int) -> None:
    """Train with Lightning; what it would write and show is switched off."""
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="gpu" if case.device == "cuda" else "cpu", devices=1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0)
    trainer.fit(Module(model), DataLoader(TensorDataset(*case.train), case.batch, shuffle=True),
                DataLoader(TensorDataset(*case.validation), 4 * case.batch))


LOOPS = {"taglab.training": lib_training, "by hand, fused": partial(by_hand, adam=FUSED),
         "taglab.training, not fused": partial(lib_training, adam=NOT_FUSED), "by hand": by_hand,
         "plain": plain, "lightning": with_lightning}
FIRST = {"taglab.training, channels first": partial(lib_training, channels_last=False)}
ON_GPU = {"taglab.training, bfloat16": partial(lib_training, precision="bfloat16")}


def seconds(loop, case: Case, epochs: int) -> float:
    """Return the seconds of a training of so many epochs."""
    model = copy.deepcopy(case.model)
    clock = perf_counter if case.device == "cuda" else process_time
    started = clock()
    with contextlib.redirect_stdout(io.StringIO()):
        loop(case, model, epochs)
    if case.device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main(name: str, device: str, rounds: int) -> None:
    """Print the median seconds an epoch of each loop."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    case = NETWORKS[name](device)
    loops = LOOPS | (ON_GPU if device == "cuda" else {}) | (FIRST if name == "digits" else {})
    if name == "wide":
        loops = {loop: loops[loop] for loop in ("taglab.training", *ON_GPU)}
    found: dict[str, list[float]] = {loop: [] for loop in loops}
    for number in range(rounds + 1):
        for loop, train in loops.items():
            short, long = seconds(train, case, 1), seconds(train, case, 1 + MORE * case.repeat)
            if number:  # the first round only warms up
                found[loop].append((long - short) / MORE / case.repeat)
    print(json.dumps({loop: statistics.median(values) for loop, values in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
