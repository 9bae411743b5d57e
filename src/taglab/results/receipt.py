"""The receipt of a tag that was run again: what was compared, and what differs by how much."""

import json
import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import taglab
from taglab.results.comparison import (
    ARTIFACT, DIFFERS, METRIC, MODEL, PARAMETER, RUN, SAME, SKIPPED, STATUS, WITHIN,
    Finding, RunComparison, worst)
from taglab.results.not_compared import ASYNCHRONOUS_REASON

SHOWN = 10  # differences, and as many of what was not compared; the receipt has all


@dataclass(frozen=True)
class Machine:
    """Where a tag was run again."""

    python: str
    platform: str
    taglab: str


@dataclass(frozen=True)
class RunReceipt:
    """What became of one run; `findings` are those that are not the same.

    same: how many things of each kind were the same to the last digit.
    """

    run: str
    run_id: str
    again_id: str | None
    outcome: str
    same: Mapping[str, int]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Receipt:
    """What was found when a tag was run again.

    outcome: "same", "within the tolerance" or "differs".
    verdict: the same in words; it becomes the tag `verified` of the first runs.
    build: how the new build ended, and `expected` how the first one did.
    when: in ISO 8601.
    tolerance: the relative difference of numbers up to which they are within it.
    """

    tag: str
    commit: str
    when: str
    outcome: str
    verdict: str
    build: str
    expected: str
    tolerance: float
    machine: Machine
    runs: tuple[RunReceipt, ...]


def this_machine() -> Machine:
    """Return the facts of this machine on which numbers may depend."""
    return Machine(platform.python_version(), platform.platform(), taglab.__version__)


def make_receipt(
    tag: str, commit: str, when: str, build: str, expected: str, tolerance: float,
    runs: Iterable[RunComparison],
) -> Receipt:
    """Return the receipt of a tag. A build that ended otherwise than the first one differs."""
    receipts = tuple(RunReceipt(
        each.run, each.run_id, each.again_id, worst(each.findings),
        dict(Counter(finding.kind for finding in each.findings if finding.outcome == SAME)),
        tuple(finding for finding in each.findings if finding.outcome != SAME))
        for each in runs)
    outcomes = {each.outcome for each in receipts}
    outcome = DIFFERS if build != expected else next(
        (each for each in (DIFFERS, WITHIN) if each in outcomes), SAME)
    said = _verdict(outcome, build, expected, tolerance, receipts)
    return Receipt(tag, commit, when, outcome, said, build, expected, tolerance, this_machine(),
                   receipts)


def write_receipt(receipt: Receipt, path: Path) -> None:
    """Write a receipt as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(receipt) + "\n", encoding="utf-8")


def to_json(value: Any) -> str:
    """Return a dataclass as JSON, which has no infinite numbers: those become words."""
    return json.dumps(_finite(asdict(value)), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _verdict(outcome: str, build: str, expected: str, tolerance: float,
             runs: Iterable[RunReceipt]) -> str:
    """Return in a few words what was found."""
    if outcome == SAME:
        return SAME
    if outcome == WITHIN:
        return f"same, numbers within {tolerance:g}"
    if build != expected:
        return f"differs: the build ended {build}, and the first one {expected}"
    first, *more = [f"{run.run}, {describe(each)}" for run in runs for each in run.findings
                    if each.outcome == DIFFERS]
    return f"differs: {first}" + (f" and {len(more)} more" if more else "")


def summary(receipt: Receipt) -> str:
    """Return a few lines: what was compared, what differs with both values, what was left out."""
    counts = Counter[str]()
    for run in receipt.runs:
        counts.update(run.same)
    within = [(run, each) for run in receipt.runs for each in run.findings
              if each.outcome == WITHIN]
    differ = [(run, each) for run in receipt.runs for each in run.findings
              if each.outcome == DIFFERS]
    skipped = Counter((each.kind, _general(each)) for run in receipt.runs for each in run.findings
                      if each.outcome == SKIPPED)
    kinds = ", ".join(_counted(counts[kind], kind) for kind in _KINDS if counts[kind])
    lines = [f"{receipt.tag} at {receipt.commit[:7]}: {receipt.verdict.partition(':')[0]}",
             f"  {_counted(len(receipt.runs), RUN)} compared; the same: {kinds or 'nothing'}"]
    if within:
        most = max(each.by or 0.0 for _, each in within)
        lines.append(f"  within {receipt.tolerance:g}: {len(within)}, the largest relative "
                     f"difference is {most:.2g}")
    if receipt.build != receipt.expected:
        lines.append(f"  differs: {receipt.verdict.partition(': ')[2]}")
    lines += _first([f"  differs: {run.run}, {describe(each)}" for run, each in differ])
    lines += _first([f"  not compared: {name}: {why}" if count == 1 else
                     f"  not compared: {name} ({count} times): {why}"
                     for (_, (name, why)), count in skipped.items()])
    return "\n".join(lines)


_KINDS = (STATUS, PARAMETER, METRIC, ARTIFACT, MODEL)


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind}" if count == 1 else f"{count} {kind}{'es' if kind == STATUS else 's'}"


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"  … and {more} more; the receipt has all"] if more > 0 else [])


def _general(finding: Finding) -> tuple[str, str]:
    """Return a name for what was not compared that is the same in many runs, and why."""
    named = finding.reason != ASYNCHRONOUS_REASON
    return f"{finding.kind} {finding.name}" if named else f"{finding.kind}s", finding.reason


def describe(finding: Finding) -> str:
    """Return what differs, with both values and their difference."""
    name = finding.name if finding.kind == STATUS else f"{finding.kind} {finding.name}"
    if finding.kind in (ARTIFACT, MODEL, RUN):
        by = "" if finding.by is None else f" by {finding.by:.2g}"
        return f"{name}: {finding.reason or 'it differs'}{by}"
    old, new = (_shown(value) for value in (finding.old, finding.new))
    by = "" if finding.by is None else f" (by {finding.by:.2g} of it)"
    return f"{name}: {old} then, {new} now{by}"


def _shown(value: str | float | None) -> str:
    if value is None:
        return "nothing"
    return f"{value:.9g}" if isinstance(value, float) else str(value)[:60]
