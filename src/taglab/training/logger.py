"""The log of a training: a progress bar or a line per epoch, MLflow metrics, TensorBoard events."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
from mlflow.entities import Metric
from torch import nn
from tqdm import tqdm

from taglab.training.data import Batch
from taglab.training.distributed import rank
from taglab.training.tensorboard import event_writer

MOST = 1000  # metrics that MLflow accepts in one call
SECONDS = 2.0  # between two calls


@contextlib.contextmanager
def log_epochs(
    epochs: int, past: Sequence[Mapping[str, float]], tensorboard: bool = False
) -> Iterator["EpochLogger"]:
    """Yield a logger for the active run; however the body ends, all metrics are sent.

    epochs: how many there will be at most.
    past: the metrics of epochs before a training resumed, which are logged first.
    tensorboard: write events, too.

    Raises ValueError for events outside a run.
    """
    run = mlflow.active_run()
    run_id = run.info.run_id if run else os.environ.get("MLFLOW_RUN_ID")
    terminal = getattr(sys.stdout, "terminal", None) or sys.stdout
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(
            total=epochs, unit="epoch", file=terminal,
            disable=rank() > 0 or not terminal.isatty()))
        writer = (stack.enter_context(event_writer(run_id)) if tensorboard and not rank() else
                  None)
        logger = EpochLogger(run_id, bar, writer)
        for number, row in enumerate(past, 1):
            logger.log(number, row)
        if past and not rank():
            print(f"resuming after epoch {len(past)}")
        stack.callback(logger.flush)
        yield logger


@dataclass
class EpochLogger:
    """Logs epochs to the terminal, to MLflow and to TensorBoard; in processes but rank 0, nowhere.

    Metrics are sent to MLflow in batches, every two seconds.
    """

    run_id: str | None
    bar: "tqdm[Any]"
    writer: Any = None  # TensorBoard's
    _unsent: list[Metric] = field(default_factory=list)
    _next_flush: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def log(self, epoch: int, row: Mapping[str, float], model: nn.Module | None = None) -> None:
        """Log the metrics of an epoch, and the weights of the model as TensorBoard histograms."""
        if rank():
            return
        text = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
        if self.bar.disable:
            print(f"epoch {epoch:3}  {text}", flush=True)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()
        if self.writer:
            for name, value in row.items():
                self.writer.add_scalar(name, value, epoch)
            for name, parameter in model.named_parameters() if model else ():
                self.writer.add_histogram(name, parameter, epoch)
        if self.run_id:
            now = time.time_ns() // 1_000_000
            self._unsent += [Metric(name, value, now, epoch) for name, value in row.items()]

    def follow(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and keep the log up to date while they are used."""
        for batch in batches:
            yield batch
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Send the metrics and redraw the bar, at most every two seconds."""
        if time.monotonic() > self._next_flush:
            self.flush()
            self.bar.refresh()

    def flush(self) -> None:
        """Send the metrics that are not sent yet."""
        self._next_flush = time.monotonic() + SECONDS
        while self._unsent and self.run_id:
            mlflow.MlflowClient().log_batch(self.run_id, self._unsent[:MOST])
            del self._unsent[:MOST]
