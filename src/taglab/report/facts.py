"""What a report tells, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from taglab.goals import Goal
from taglab.results import RunResult, TagResults
from taglab.results.diff import TagDiff, is_met
from taglab.results.differences import label


@dataclass(frozen=True)
class GoalResult:
    """A goal, and what a run of its process has; value is None where it has no such metric."""

    run: str
    metric: str
    side: str
    bound: float
    value: float | None
    met: bool


@dataclass(frozen=True)
class FigureFile:
    """An image among a run's artifacts; `size` in bytes, and whether the page shows it."""

    run: str
    path: str
    size: int
    shown: bool


@dataclass(frozen=True)
class ReportFacts:
    """What a report tells.

    goals: those of the tag's commit for what ran.
    difference: to another tag; None where there is none, and then `no_difference` says why.
    packages: the versions that were installed, by name.
    remote: the address to clone from; "" where others cannot reach it.
    written: when, in seconds since the epoch; platform: where.
    """

    lab: str
    results: TagResults
    goals: tuple[GoalResult, ...]
    difference: TagDiff | None
    no_difference: str
    packages: Mapping[str, str]
    figures: tuple[FigureFile, ...]
    remote: str
    written: float
    platform: str


def goal_results(goals: list[Goal], runs: tuple[RunResult, ...]) -> tuple[GoalResult, ...]:
    """Return how the runs meet the goals of their processes, in the order of the goals."""
    return tuple(
        GoalResult(label(run), goal.metric, "at least" if goal.at_least else "at most", goal.bound,
                   run.metrics.get(goal.metric), is_met(goal, (run,)) is True)
        for goal in goals for run in runs if run.process == goal.process)
