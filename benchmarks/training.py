"""`taglab.training` beside a loop over tensors, a plain loop with a DataLoader, and Lightning.

    python benchmarks/training.py [rounds]
"""
from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from labs import bake, python_of, python_path

VERSIONS = """
import platform, torch, lightning
cuda = torch.cuda.is_available()
print(torch.__version__, lightning.__version__, "cuda" if cuda else "cpu",
      torch.cuda.get_device_name() if cuda else f"one thread of {platform.machine()}", sep="|")
"""
OURS, LIKE_THEIRS = "taglab.training", "taglab.training, not fused"
# Ours, a rival, and how many times as fast ours is to be at least. The rivals' Adam is as PyTorch
# makes it by default, not fused; LIKE_THEIRS differs from them in the loop alone.
TARGETS = [("two-layers", OURS, "plain", 2.0), ("two-layers", LIKE_THEIRS, "plain", 2.0),
           *((network, ours, rival, least) for network in ("two-layers", "digits")
             for ours, rival, least in ((OURS, "lightning", 1.0), (LIKE_THEIRS, "lightning", 1.0),
                                        (OURS, "by hand, fused", 1 / 1.07),
                                        (LIKE_THEIRS, "by hand", 1 / 1.07)))]
TARGETS += [("digits", OURS, f"{OURS}, channels first", 1.3)]
METRICS_SECONDS = 0.6
LONG_BATCH, FLAT = 244e-6, 1.1  # seconds of a batch in a long epoch, and to one in a short epoch
WORKERS = 2.0  # times as fast as with new ones in each epoch


class Bench:
    """A lab, and the environment that holds what the lab and its rivals need."""

    def __init__(self, folder: Path) -> None:
        self._lab = bake(folder)
        self._scripts = shutil.copytree(Path(__file__).with_name("rivals-training"),
                                        folder / "rivals-training")
        requirements = self._scripts / "requirements.txt"
        own = (self._lab / "requirements.txt").read_text()
        requirements.write_text(f"{own}\n{requirements.read_text()}")
        python_of(self._lab)
        self._python = python_of(self._scripts)

    def run(self, *arguments: object) -> str:
        """Run Python with the lab's modules and return the last line that it printed."""
        with tempfile.TemporaryDirectory() as folder:
            process = self._lab / "lab/processes/pytorch_example"
            done = subprocess.run(
                [self._python, *map(str, arguments)], cwd=folder, text=True, capture_output=True,
                env={**os.environ, "LAB_ROOT": str(self._lab),
                     "PYTHONPATH": python_path(self._lab, process, self._scripts),
                     "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"})
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, arguments))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.splitlines()[-1]

    def epochs(self, network: str, device: str, rounds: int) -> dict[str, float]:
        """Return the seconds an epoch of each loop."""
        script = self._scripts / "epochs.py"
        return json.loads(self.run(script, network, device, rounds))

    def long_epochs(self) -> dict[str, list[float]]:
        """Return the seconds a batch in a short and in a long epoch, of each loop."""
        return json.loads(self.run(self._scripts / "long_epochs.py"))

    def workers(self, rounds: int) -> dict[str, float]:
        """Return the seconds an epoch with worker processes that stay and with new ones."""
        return json.loads(self.run(self._scripts / "workers.py", rounds))

    def metrics(self, rounds: int) -> float:
        """Return the median seconds to log 1,000 epochs of four metrics."""
        return statistics.median(
            float(self.run(self._scripts / "metrics.py")) for _ in range(rounds))


def verdict(met: bool) -> str:
    """Return what stands at the end of a line."""
    return "met" if met else "MISSED"


def show_long_epochs(found: dict[str, list[float]]) -> None:
    """Print what a batch costs in short and in long epochs."""
    for loop, (short, long) in found.items():
        print(f"{loop}, a batch of one sample: {1e6 * short:.0f} µs in an epoch of 1,000, "
              f"{1e6 * long:.0f} µs in one of 80,000, {long / short:.2f} times as much")
    short, long = found[OURS]
    print(f"{OURS}, epoch of 80,000 batches (at most {FLAT:.2f} times as much): "
          f"{verdict(long <= FLAT * short)}, (at most {1e6 * LONG_BATCH:.0f} µs): "
          f"{verdict(long <= LONG_BATCH)}")


def main() -> None:
    """Print a line for each figure: what, figure, target, and whether it is met."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        torch, lightning, device, name = bench.run("-c", VERSIONS).split("|")
        print(f"torch {torch}, lightning {lightning}, {name}")
        found = {network: bench.epochs(network, device, rounds)
                 for network in ("two-layers", "digits")}
        for network, seconds in found.items():
            shown = ", ".join(f"{loop} {1000 * each:.0f} ms" for loop, each in seconds.items())
            print(f"{network}, an epoch: {shown}")
        for network, ours, rival, target in TARGETS:
            ratio = found[network][rival] / found[network][ours]
            print(f"{network}: {ours} is {ratio:.2f} times as fast as {rival} "
                  f"(at least {target:.2f}): {verdict(ratio >= target)}")
        show_long_epochs(bench.long_epochs())
        staying, new = bench.workers(rounds).values()
        print(f"an epoch read by 2 workers: {1000 * staying:.0f} ms with ones that stay, "
              f"{1000 * new:.0f} ms with new ones, {new / staying:.2f} times as fast "
              f"(at least {WORKERS:.2f}): {verdict(new / staying >= WORKERS)}")
        if device == "cuda":
            wide = bench.epochs("wide", device, rounds)
            single, half = wide["taglab.training"], wide["taglab.training, bfloat16"]
            print(f"wide, an epoch: float32 {1000 * single:.0f} ms, bfloat16 {1000 * half:.0f} ms, "
                  f"{single / half:.2f} times as fast")
        seconds = bench.metrics(rounds)
        print(f"1,000 epochs of 4 metrics logged: {seconds:.2f} s (under {METRICS_SECONDS} s): "
              f"{verdict(seconds < METRICS_SECONDS)}")


if __name__ == "__main__":
    main()
