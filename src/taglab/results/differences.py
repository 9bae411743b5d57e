"""How the results of two tags differ, as functions of data."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from taglab.results.tag_results import RunResult, TagResults

Value = TypeVar("Value")


@dataclass(frozen=True)
class Change(Generic[Value]):
    """A value that differs between two runs of a process; None where a run has none."""

    run: str
    name: str
    old: Value | None
    new: Value | None


@dataclass(frozen=True)
class Differences:
    """How the runs of two tags differ.

    only_old, only_new: the runs that only one of the tags has.
    same_*: how many values are the same.
    """

    pairs: tuple[tuple[RunResult, RunResult], ...]
    only_old: tuple[RunResult, ...]
    only_new: tuple[RunResult, ...]
    params: tuple[Change[str], ...]
    metrics: tuple[Change[float], ...]
    data: tuple[Change[str], ...]
    same_params: int
    same_metrics: int
    same_data: int


def differences(old: TagResults, new: TagResults) -> Differences:
    """Return how the runs of two tags differ; runs are paired by their process and name."""
    paired = list(pair_runs(old.runs, new.runs, run_key))
    both = tuple((a, b) for a, b in paired if a and b)
    params, same_params = _changes(both, lambda run: run.params)
    metrics, same_metrics = _changes(both, lambda run: run.metrics)
    data, same_data = _changes(both, lambda run: run.data)
    return Differences(both, tuple(a for a, b in paired if a and not b),
                       tuple(b for a, b in paired if b and not a),
                       params, metrics, data, same_params, same_metrics, same_data)


def run_key(run: RunResult) -> tuple[str, ...]:
    """Return what the same run of another tag has in common with a run that is not nested."""
    return run.process, run.name, run.tags.get("index", "")


def label(run: RunResult) -> str:
    """Return what to call a run: its process, with its own name where it has another."""
    words = [run.process, run.name if run.name != run.process else "", run.tags.get("index", "")]
    return " ".join(filter(None, words)) or run.run_id


def pair_runs(
    old: Iterable[RunResult], new: Iterable[RunResult], key: Callable[[RunResult], object]
) -> Iterator[tuple[RunResult | None, RunResult | None]]:
    """Yield the runs of two lists that have the same key, in order; None where one is missing.

    Of several with one key, the first is paired with the first, and so on.
    """
    left, right = _numbered(old, key), _numbered(new, key)
    for name in [*left, *(name for name in right if name not in left)]:
        yield left.get(name), right.get(name)


def _numbered(
    runs: Iterable[RunResult], key: Callable[[RunResult], object]
) -> dict[tuple[object, int], RunResult]:
    seen: Counter[object] = Counter()
    found = {}
    for run in runs:
        found[key(run), seen[key(run)]] = run
        seen[key(run)] += 1
    return found


def _changes(
    pairs: Iterable[tuple[RunResult, RunResult]],
    values: Callable[[RunResult], Mapping[str, Value]],
) -> tuple[tuple[Change[Value], ...], int]:
    """Return the values that differ, in the order of their names, and how many are the same."""
    found, same = [], 0
    for a, b in pairs:
        old, new = values(a), values(b)
        for name in sorted(old.keys() | new.keys()):
            if name in old and name in new and is_same(old[name], new[name]):
                same += 1
            else:
                found.append(Change(label(a), name, old.get(name), new.get(name)))
    return tuple(found), same


def is_same(old: Any, new: Any) -> bool:
    """Return whether two values are equal, or both NaN."""
    return bool(old == new) or (isinstance(old, float) and isinstance(new, float)
                                and math.isnan(old) and math.isnan(new))
