"""The processes that `torchrun` starts to train one model together."""

import atexit
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn  # noqa: F401, imported later it would keep the group alive for good


def join_process_group(device: torch.device) -> None:
    """Join the other processes of `torchrun`; without it, do nothing."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(leave_process_group)


def leave_process_group() -> None:
    """Leave the group while Python still runs: its threads abort when they outlive Python.

    After an error, do not: the other processes may be waiting for this one, and leaving waits for
    them.
    """
    if dist.is_initialized() and not hasattr(sys, "last_type"):
        dist.destroy_process_group()


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 is the one that logs and writes checkpoints."""
    return dist.get_rank() if dist.is_initialized() else 0


def all_gather(value: Any) -> list[Any]:
    """Return the values that the processes pass, in the order of their ranks."""
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    return values
