"""Compares the runs that a tag has made with those that it makes again, as functions of data."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from taglab.results.differences import label, pair_runs, run_key
from taglab.results.not_compared import (
    ASYNCHRONOUS_REASON, PARAMETERS, artifact_reason, metric_reason)
from taglab.results.tag_results import RunResult
from taglab.tracking.summary import ASYNCHRONOUS, FINISHED

SAME, WITHIN, DIFFERS, SKIPPED = "same", "within the tolerance", "differs", "not compared"
RUN, STATUS, PARAMETER, METRIC = "run", "status", "parameter", "metric"
ARTIFACT, MODEL = "artifact", "model"
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Finding:
    """One thing that was compared, or not.

    by: the relative difference of two numbers; None for anything else.
    reason: why it was not compared, or what differs.
    """

    kind: str
    name: str
    outcome: str
    old: str | float | None = None
    new: str | float | None = None
    by: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class RunComparison:
    """A run and the one that its tag made again.

    run: what to call it, after the runs that it is nested in.
    again_id: None where there was none.
    """

    run: str
    run_id: str
    again_id: str | None
    findings: tuple[Finding, ...]


def run_pairs(
    old: Sequence[RunResult], new: Sequence[RunResult]
) -> Iterator[tuple[str, RunResult | None, RunResult | None, bool]]:
    """Yield the runs of two builds in pairs, with what to call them and whether they may differ.

    Each is followed by the runs that are nested in it: trials are paired by their number, others
    by their name. Those of an asynchronous search may differ, as may the search itself.
    """
    for a, b in pair_runs(old, new, run_key):
        yield from _with_nested(label(a or b or old[0]), a, b, False)


def _with_nested(
    name: str, a: RunResult | None, b: RunResult | None, may_differ: bool
) -> Iterator[tuple[str, RunResult | None, RunResult | None, bool]]:
    may_differ |= any(run.tags.get(ASYNCHRONOUS) == "true" for run in (a, b) if run)
    yield name, a, b, may_differ
    for one, other in pair_runs(_ordered(a), _ordered(b), _nested_key):
        some = one or other
        assert some
        trial = some.tags.get("trial")
        own = f"trial {trial}" if trial is not None else some.name
        yield from _with_nested(f"{name}: {own}", one, other, may_differ)


def _ordered(run: RunResult | None) -> list[RunResult]:
    """Return nested runs, finished ones first: of a trial that was run twice, one is paired."""
    return sorted(run.nested if run else (), key=lambda each: each.status != FINISHED)


def _nested_key(run: RunResult) -> tuple[str, str]:
    return ("trial", run.tags["trial"]) if "trial" in run.tags else ("name", run.name)


def compare_runs(old: RunResult, new: RunResult, tolerance: float,
                 may_differ: bool = False) -> list[Finding]:
    """Return what is the same in two runs and what is not: status, parameters and metrics.

    tolerance: a relative difference of metrics up to which they are within the tolerance.
    may_differ: compare the status alone.
    """
    is_same = old.status == new.status
    found = [Finding(STATUS, "status", SAME if is_same else DIFFERS, old.status, new.status)]
    for name in sorted(old.params.keys() | new.params.keys()):
        a, b = old.params.get(name), new.params.get(name)
        reason = ASYNCHRONOUS_REASON if may_differ else PARAMETERS.get(name, "")
        found.append(Finding(PARAMETER, name, SAME if a == b else DIFFERS, a, b, reason=reason))
    for name in sorted(old.metrics.keys() | new.metrics.keys()):
        found.append(replace(
            compare_numbers(name, old.metrics.get(name), new.metrics.get(name), tolerance),
            reason=ASYNCHRONOUS_REASON if may_differ else metric_reason(name)))
    return [replace(each, outcome=SKIPPED) if each.reason else each for each in found]


def compare_numbers(name: str, old: float | None, new: float | None, tolerance: float) -> Finding:
    """Return how a metric compares; None where a run has no such metric."""
    if old is None or new is None:
        return Finding(METRIC, name, DIFFERS, old, new)
    by = relative_difference(old, new)
    outcome = SAME if by == 0 else WITHIN if by <= tolerance else DIFFERS
    return Finding(METRIC, name, outcome, old, new, by)


def relative_difference(old: float, new: float) -> float:
    """Return |old - new| by the larger of both; 0 where both are NaN, else infinity for NaN."""
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    return abs(old - new) / max(abs(old), abs(new))


def compare_texts(old: bytes, new: bytes, tolerance: float) -> float | None:
    """Return the largest relative difference of the numbers in two texts, if they differ in
    nothing else and by no more than the tolerance; else None.
    """
    if b"\0" in old or _NUMBER.split(old) != _NUMBER.split(new):
        return None
    by = max((relative_difference(float(a), float(b)) for a, b in zip(
        _NUMBER.findall(old), _NUMBER.findall(new))), default=0.0)
    return by if by <= tolerance else None


def compare_paths(old: Mapping[str, str], new: Mapping[str, str]) -> list[Finding]:
    """Return how the artifacts of two runs compare, by the digests of their bytes by path."""
    found = []
    for path in sorted(old.keys() | new.keys()):
        a, b = old.get(path), new.get(path)
        if reason := artifact_reason(path):
            outcome = SKIPPED
        else:
            outcome = SAME if a == b else DIFFERS
            reason = "" if a == b else "other bytes" if a and b else (
                "only the old run has it" if a else "only the new run has it")
        found.append(Finding(ARTIFACT, path, outcome, a, b, reason=reason))
    return found


def worst(findings: Sequence[Finding]) -> str:
    """Return the outcome of all: differs if one does, else within the tolerance if one is."""
    outcomes = {each.outcome for each in findings}
    return next((each for each in (DIFFERS, WITHIN, SAME) if each in outcomes), SKIPPED)
