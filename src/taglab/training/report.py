"""What a training tells: a bar or a line an epoch, metrics for MLflow, events for TensorBoard."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping

from taglab.tracking.quick_mlflow import mlflow
from mlflow.entities import Metric
from torch import nn
from tqdm import tqdm

from taglab.training.data import Batch, rank
from taglab.training.tensorboard import event_writer

MOST = 1000  # metrics that MLflow takes in one call
SECONDS = 2.0  # that a metric waits at most


class Report:
    """Tells how a training goes; only the first of several processes does."""

    def __init__(self) -> None:
        run = mlflow.active_run()
        self.run_id = run.info.run_id if run else os.environ.get("MLFLOW_RUN_ID")
        self.bar = self.writer = None
        self.waiting: list[Metric] = []
        self.due = time.monotonic() + SECONDS

    @contextlib.contextmanager
    def open(self, epochs: int, past: list[dict[str, float]], events: bool) -> Iterator[None]:
        """Tell the past epochs, and what the body does; whatever ends it, all is sent."""
        with contextlib.ExitStack() as stack:
            terminal = getattr(sys.stdout, "terminal", None) or sys.stdout
            self.bar = stack.enter_context(tqdm(
                total=epochs, unit="epoch", file=terminal,
                disable=rank() > 0 or not terminal.isatty()))
            if events and not rank():
                self.writer = stack.enter_context(event_writer(self.run_id))
            for number, row in enumerate(past, 1):
                self.epoch(number, row)
            if past and not rank():
                print(f"goes on after epoch {len(past)}")
            stack.callback(self.send)
            yield

    def epoch(self, number: int, row: Mapping[str, float],
              model: nn.Module | None = None) -> None:
        """Tell the means of an epoch."""
        if rank():
            return
        text = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
        if self.bar.disable:
            print(f"epoch {number:3}  {text}", flush=True)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()
        if self.writer:
            for name, value in row.items():
                self.writer.add_scalar(name, value, number)
            for name, parameter in model.named_parameters() if model else ():
                self.writer.add_histogram(name, parameter, number)
        if self.run_id:
            now = time.time_ns() // 1_000_000
            self.waiting += [Metric(name, value, now, number) for name, value in row.items()]

    def beside(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, with a tick after each."""
        for batch in batches:
            yield batch
            self.tick()

    def tick(self) -> None:
        """Show a sign of life and send what waits, every two seconds."""
        if time.monotonic() > self.due:
            self.send()
            self.bar.refresh()

    def send(self) -> None:
        """Send what waits."""
        self.due = time.monotonic() + SECONDS
        while self.waiting:
            mlflow.MlflowClient().log_batch(self.run_id, self.waiting[:MOST])
            del self.waiting[:MOST]
