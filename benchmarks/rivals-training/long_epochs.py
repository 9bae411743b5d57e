"""CPU seconds a batch of one sample, in epochs of 1,000 and of 80,000 batches, in one thread."""
import json
from functools import partial

import torch
from epochs import FUSED, by_hand, lib_training, seconds
from networks import Case
from torch import Tensor, nn

SHORT, LONG = 1_000, 80_000  # batches
TIMES = 8  # so many short epochs more than one: start and end do not count


def case(batches: int) -> Case:
    """Return a network so small that the loop around it counts."""
    def rows(count: int) -> tuple[Tensor, Tensor]:
        return torch.randn(count, 4), torch.arange(count) % 3

    return Case(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), rows(batches),
                rows(4), "cpu", batch=1)


torch.set_num_threads(1)
torch.manual_seed(0)
found = {}
for loop, train in {"taglab.training": lib_training,
                    "by hand, fused": partial(by_hand, adam=FUSED)}.items():
    seconds(train, case(SHORT), 1)  # the first one only warms up
    start = seconds(train, case(SHORT), 1)
    short = (seconds(train, case(SHORT), 1 + TIMES) - start) / (TIMES * SHORT)
    found[loop] = [short, (seconds(train, case(LONG), 1) - start) / (LONG - SHORT)]
print(json.dumps(found))
