"""Two processes in two pods add up their ranks."""

import os
from datetime import timedelta

import torch
from taglab.config import load_config
from taglab.tracking import start_run
from torch import distributed


def main() -> None:
    config = load_config(__file__)
    if os.environ.get("RANK", "0") == "0":
        with start_run(__file__, config):
            add_up()
    else:
        add_up()


def add_up() -> None:
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    ranks = torch.tensor([distributed.get_rank() + 1.0])
    distributed.all_reduce(ranks)
    print(f"sum {ranks.item():g} of {distributed.get_world_size()} processes")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
