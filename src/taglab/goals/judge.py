"""Compares the runs in MLflow with the goals in goals.toml.

    python -m taglab.goals [--json]

In a build, its own runs and those that it took for its own are judged; otherwise the newest
finished run of each process.
"""

import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow.entities import Run

from taglab.ci import read_build
from taglab.config import WRONG_USAGE
from taglab.lab import lab_root
from taglab.tracking.connection import experiment_name, open_store
from taglab.tracking.reuse import reused_in
from taglab.tracking.summary import PARENT, find_runs, of_build

FAILED = 1  # an exit status
KEYS: dict[str, type | UnionType] = {
    "process": str, "metric": str, "at_least": int | float, "at_most": int | float}


class GoalsError(ValueError):
    """A goals.toml that cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Goal:
    """A bound on one metric of one process."""

    process: str
    metric: str
    bound: float
    at_least: bool  # else at most

    def __str__(self) -> str:
        side = "at least" if self.at_least else "at most"
        return f"{self.process}: {self.metric} {side} {self.bound:g}"


@dataclass(frozen=True)
class Verdict:
    """Whether a goal is met, and why."""

    goal: Goal
    met: bool | None  # None: there is no run to judge
    reason: str

    def __str__(self) -> str:
        word = {True: "met", False: "MISSED", None: "NO RUN"}[self.met]
        return f"{word:<7} {self.goal}; {self.reason}"


def read_goals(path: Path | None = None) -> list[Goal]:
    """Return the goals of a file, by default the lab's goals/goals.toml.

    Raises GoalsError when there is no such file or something in it is wrong.
    """
    path = path or lab_root() / "goals" / "goals.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GoalsError(f"cannot read {path}: {error}") from None
    goals = tables.pop("goal", [])
    if tables or not isinstance(goals, list) or not goals:
        raise GoalsError(f"{path} must hold [[goal]] tables and nothing else")
    return [_goal(table, f"{path}: goal {number}") for number, table in enumerate(goals, 1)]


def _goal(table: Any, where: str) -> Goal:
    """Return the goal that a table describes. Raises GoalsError, which begins with `where`."""
    if not isinstance(table, dict):
        raise GoalsError(f"{where} must be a table")
    for key, value in table.items():
        if key not in KEYS:
            raise GoalsError(f"{where}: unknown key {key!r}; known are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise GoalsError(f"{where}: {key} must not be {value!r}")
    if "process" not in table or "metric" not in table:
        raise GoalsError(f"{where} needs process and metric")
    if ("at_least" in table) == ("at_most" in table):
        raise GoalsError(f"{where} needs either at_least or at_most")
    at_least = "at_least" in table
    return Goal(table["process"], table["metric"],
                float(table["at_least" if at_least else "at_most"]), at_least)


def judge(goal: Goal, run: Run | None) -> Verdict:
    """Return whether a run meets a goal; without a run, the reason says how to make one."""
    if run is None:
        tag = f"{goal.process.replace('_', '-')}-v1"
        return Verdict(goal, None, f"make one: git tag {tag} && git push origin {tag}")
    named = f"run {run.info.run_name} {run.info.run_id}"
    value = run.data.metrics.get(goal.metric)
    if value is None:
        known = ", ".join(sorted(run.data.metrics)) or "none"
        return Verdict(goal, False, f"{named} has no such metric; it has {known}")
    met = value >= goal.bound if goal.at_least else value <= goal.bound
    reason = f"{named} has {value:.6g}"
    if not met:  # NaN meets no goal
        side = "less" if goal.at_least else "more"
        reason += f", {abs(value - goal.bound):.3g} {side} than the goal"
    return Verdict(goal, met, reason)


def finished_runs(build: str) -> dict[str, Run]:
    """Return the newest finished run of each process; of all builds when `build` is "".

    A run of an earlier build that this one took for its own counts where it has no other.
    """
    client = open_store()
    if client is None:
        return {}
    conditions = [f" and {each}" for each in (reused_in(build), of_build(build))] if build else [""]
    runs = [run for condition in conditions for run in
            find_runs(client, experiment_name(), f"attributes.status = 'FINISHED'{condition}")]
    return {run.data.tags.get("process", ""): run for run in runs if PARENT not in run.data.tags}


def verdicts(goals: list[Goal], build: str = "") -> list[Verdict]:
    """Return a verdict on each goal by the runs of a build, or of all when `build` is ""."""
    runs = finished_runs(build)
    return [judge(goal, runs.get(goal.process)) for goal in goals]


def main(arguments: Sequence[str] = ()) -> int:
    """Print a verdict on each goal; return 0, 1 when one is not met, or 3 for a wrong file."""
    build = read_build().number
    try:
        goals = read_goals()
    except GoalsError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE
    runs = finished_runs(build)
    if build and runs:  # a build of one process is not judged by the goals of the others
        goals = [goal for goal in goals if goal.process in runs]
    results = [judge(goal, runs.get(goal.process)) for goal in goals]
    if "--json" in arguments:
        print(json.dumps([asdict(verdict) for verdict in results], indent=1))
    else:
        print("\n".join(map(str, results)) or f"no goal is set for {', '.join(sorted(runs))}")
    return 0 if all(verdict.met for verdict in results) else FAILED
