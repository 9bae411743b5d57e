"""The device of a training and the precision in which it computes."""

import os

import torch

PRECISIONS = ("float32", "bfloat16", "float16")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is this process's GPU, Apple's GPU or the CPU."""
    if name == "auto":
        name = ("cuda" if torch.cuda.is_available() else
                "mps" if torch.backends.mps.is_available() else "cpu")
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision of that name; "auto" is 16 bits on an NVIDIA GPU, in its best format.

    Raises ValueError for an unknown name.
    """
    if name not in ("auto", *PRECISIONS):
        raise ValueError(f"precision {name!r} is none of auto, {', '.join(PRECISIONS)}")
    if name != "auto" or device.type != "cuda":
        return name.replace("auto", "float32")
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
