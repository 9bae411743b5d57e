"""The loss and the metrics of a model: of one batch, and their means over the samples of many."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from taglab.training.data import Batch
from taglab.training.distributed import all_gather

# Of the model's output and the targets: a mean over the batch, or a value for each sample.
MetricFunction = Callable[[Tensor, Tensor], Tensor]


class NotFinite(ArithmeticError):
    """A loss is NaN or infinite; the message names the epoch and the batch."""


@torch.no_grad()
def evaluate_batches(
    model: nn.Module, batches: Iterable[Batch], metrics: Mapping[str, MetricFunction], where: str
) -> dict[str, float]:
    """Return the means over the samples of the batches, with the model in evaluation mode.

    where: names the batches in the message of NotFinite, which is raised for a bad loss.
    """
    model.eval()
    means = [(len(batch[-1]), measure(model, batch, metrics)[1]) for batch in batches]
    return average(means, where)


def measure(
    network: nn.Module, batch: Batch, metrics: Mapping[str, MetricFunction]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the network on a batch; return the loss to minimise, and the means over the batch.

    A network returns its output, or a pair: its output and a regularisation term, which is added
    to the loss and measured as `regularisation`.

    metrics: `loss` and any others.
    """
    *inputs, target = batch
    output = network(*inputs)
    output, regularisation = output if isinstance(output, tuple) else (output, None)
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


def average(means: list[tuple[int, dict[str, Tensor]]], where: str) -> dict[str, float]:
    """Return the means over the samples of all processes.

    means: the number of samples in each batch, and the means over the batch by metric.

    Raises NotFinite, with `where` and the number of the batch, for a bad loss.
    """
    sizes = torch.tensor([size for size, _ in means], dtype=torch.float64)
    sums = {}
    for name in means[0][1] if means else ():
        values = torch.stack([each[name] for _, each in means]).cpu().double()
        finite = values.isfinite()
        if name in ("loss", "regularisation") and not finite.all():
            first = int(finite.int().argmin())
            raise NotFinite(f"{name} is {values[first]:g} in {where}, batch {first + 1}: try a "
                            "smaller learning rate or clip=1, and look for such values in the data")
        sums[name] = float(values @ sizes)
    parts = [part for part in all_gather((float(sizes.sum()), sums)) if part[0]]
    samples = sum(count for count, _ in parts)
    return {name: sum(each[name] for _, each in parts) / samples for name in parts[0][1]}
