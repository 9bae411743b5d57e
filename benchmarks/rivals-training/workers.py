"""Seconds an epoch that two worker processes read: ones that stay, and new ones, in turns."""
import contextlib
import copy
import io
import json
import statistics
import sys
from functools import partial
from time import perf_counter

import torch
from epochs import ADAM
from networks import digits
from taglab.training import fit
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

MORE = 8  # epochs that a long training has more than a short one


def seconds(stay: bool, epochs: int) -> float:
    """Return the seconds of a training; workers also wait, so the clock is that on the wall."""
    data = [DataLoader(TensorDataset(*part), 128, num_workers=2, persistent_workers=stay)
            for part in (case.train, case.validation)]
    started = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        fit(copy.deepcopy(case.model), *data, loss=cross_entropy, optimizer=ADAM, epochs=epochs,
            device="cpu")
    return perf_counter() - started


torch.set_num_threads(1)
case = digits("cpu")
found: dict[str, list[float]] = {"stay": [], "new": []}
for number in range(int(sys.argv[1])):
    for name, values in found.items():
        train = partial(seconds, name == "stay")
        values.append((train(1 + MORE) - train(1)) / MORE)
print(json.dumps({name: statistics.median(values) for name, values in found.items()}))
