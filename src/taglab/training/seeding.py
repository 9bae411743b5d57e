"""The seeds and the random generators of a training."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def combine_seeds(*seeds: int) -> int:
    """Return one seed for several, different from that of any others (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def seed_generators(*seeds: int) -> None:
    """Seed Python, NumPy and PyTorch, on every device, with the seeds combined."""
    seed = combine_seeds(*seeds)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def preserve_random_state(device: torch.device) -> Iterator[None]:
    """Run the body, then restore the generators of Python, NumPy and PyTorch."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
