"""The loss and the metrics of a model: of one batch, and their means over the samples of many."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from taglab.training.data import Batch
from taglab.training.distributed import all_gather

# Of the model's output and the targets: a mean over the batch, or a value for each sample.
MetricFunction = Callable[[Tensor, Tensor], Tensor]
CHECK_EVERY = 1000  # batches; reading a loss waits for the device


class NotFinite(ArithmeticError):
    """A loss is NaN or infinite; the message names the epoch and the batch."""


class Regularised(NamedTuple):
    """What a model returns whose loss has a term of its own: its output, and that term.

    The term is added to the loss, and measured as `regularisation`.
    """

    output: Tensor
    regularisation: Tensor


class Means:
    """Means over the samples of many batches; each batch is read once.

    where: names the batches in the message of NotFinite.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._unread: list[tuple[int, dict[str, Tensor]]] = []
        self._batches = 0  # that were read
        self._samples, self._sums = 0.0, dict[str, float]()  # of those

    def add(self, samples: int, means: dict[str, Tensor]) -> None:
        """Add the means over a batch, by metric. Raises NotFinite, now and then, for a bad loss."""
        self._unread.append((samples, means))
        if len(self._unread) == CHECK_EVERY:
            self._read()

    def total(self) -> dict[str, float]:
        """Return the means over the samples of all processes.

        Raises NotFinite for a bad loss, ValueError when there was no batch.
        """
        self._read()
        parts = [part for part in all_gather((self._samples, self._sums)) if part[0]]
        if not parts:
            raise ValueError(f"there is no batch in {self._where}")
        samples = sum(count for count, _ in parts)
        return {name: sum(each[name] for _, each in parts) / samples for name in parts[0][1]}

    def _read(self) -> None:
        sizes = torch.tensor([size for size, _ in self._unread], dtype=torch.float64)
        for name in self._unread[0][1] if self._unread else ():
            values = torch.stack([each[name] for _, each in self._unread]).cpu().double()
            finite = values.isfinite()
            if name in ("loss", "regularisation") and not finite.all():
                first = int(finite.int().argmin())
                raise NotFinite(
                    f"{name} is {values[first]:g} in {self._where}, batch "
                    f"{self._batches + first + 1}: try a smaller learning rate or clip=1, and look "
                    "for such values in the data")
            self._sums[name] = self._sums.get(name, 0.0) + float(values @ sizes)
        self._samples += float(sizes.sum())
        self._batches += len(self._unread)
        self._unread.clear()


@torch.no_grad()
def evaluate_batches(
    model: nn.Module, batches: Iterable[Batch], metrics: Mapping[str, MetricFunction], where: str
) -> dict[str, float]:
    """Return the means over the samples of the batches, with the model in evaluation mode.

    where: names the batches in the message of NotFinite, which is raised for a bad loss.
    """
    model.eval()
    means = Means(where)
    for batch in batches:
        means.add(len(batch[-1]), measure(model, batch, metrics)[1])
    return means.total()


def measure(
    network: nn.Module, batch: Batch, metrics: Mapping[str, MetricFunction]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the network on a batch; return the loss to minimise, and the means over the batch.

    metrics: `loss` and any others.
    """
    *inputs, target = batch
    output, regularisation = parts_of(network(*inputs))
    loss = metrics["loss"](output, target)
    loss = loss.mean() if loss.ndim else loss
    output, means = output.detach(), {"loss": loss.detach()}
    precise = torch.float32 if output.is_mps else torch.float64  # Apple's GPUs have no float64
    for name, metric in metrics.items():
        if name != "loss":
            means[name] = metric(output, target).mean(dtype=precise)
    if regularisation is not None:
        loss = loss + regularisation
        means["regularisation"] = torch.as_tensor(regularisation).detach()
    return loss, means


def parts_of(returned: Any) -> tuple[Tensor, Tensor | None]:
    """Return the output among what a model returned, and its regularisation term or None.

    Raises TypeError for anything that is not declared: several outputs, or a dict of them.
    """
    if isinstance(returned, Regularised):
        return returned
    if not isinstance(returned, Tensor):
        raise TypeError(
            f"the model returned a {type(returned).__name__}, and which part of it is the output "
            "nobody says: return one tensor, or taglab.training.Regularised(output, term), whose "
            "term is added to the loss")
    return returned, None
