"""Reads how two tags differ: their code, packages, goals, parameters, data, metrics and times."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient

from taglab.goals import Goal
from taglab.results.commits import (
    REQUIREMENTS, CodeChange, PackageChange, code_change, file_at, goals_at, package_changes,
    read_pins)
from taglab.results.differences import Change, Differences, differences, label
from taglab.results.tag_results import RunResult, TagResults, read_tag_results
from taglab.tracking.connection import experiment_name, open_store, tracking_uri


@dataclass(frozen=True)
class TagFacts:
    """A tag that is compared, and how each of its runs ended."""

    tag: str
    commit: str
    build: str
    message: str
    statuses: Mapping[str, str]


@dataclass(frozen=True)
class GoalChange:
    """A goal of one of the tags or both, and whether their runs meet it.

    A bound is None where the commit has no such goal; met is None where there is no run to judge.
    """

    process: str
    metric: str
    side: str
    old: float | None
    new: float | None
    old_met: bool | None
    new_met: bool | None

    @property
    def is_same(self) -> bool:
        """Whether both tags have the same goal, and do not differ in whether they meet it."""
        return self.old == self.new and (
            self.old_met == self.new_met or None in (self.old_met, self.new_met))


@dataclass(frozen=True)
class TagDiff:
    """How two tags differ.

    goals: those that differ, and those that a run of both is judged by.
    same: how many parameters, packages, data and metrics are the same.
    times: the seconds that each run took, which both tags have.
    addresses: where MLflow's UI compares the runs, by run; a path, where `lab ui` serves it.
    """

    old: TagFacts
    new: TagFacts
    code: CodeChange
    params: tuple[Change[str], ...]
    packages: tuple[PackageChange, ...]
    data: tuple[Change[str], ...]
    goals: tuple[GoalChange, ...]
    metrics: tuple[Change[float], ...]
    times: tuple[Change[float], ...]
    same: Mapping[str, int]
    addresses: Mapping[str, str]


def read_diff(lab: Path, old: str, new: str) -> TagDiff:
    """Return how two tags of the lab differ. Raises NoResults."""
    client, experiment, uri = open_store(), experiment_name(), tracking_uri()
    left, right = (read_tag_results(client, experiment, tag, lab, uri) for tag in (old, new))
    assert client is not None  # it has runs
    return replace(tag_diff(lab, left, right), addresses=addresses(
        client, experiment, uri, differences(left, right)))


def tag_diff(lab: Path, left: TagResults, right: TagResults) -> TagDiff:
    """Return how the results of two tags of the lab differ, without addresses."""
    requirements = [file_at(lab, each.commit, REQUIREMENTS) for each in (left, right)]
    packages = package_changes(*requirements)
    found = differences(left, right)
    goals = goal_changes(goals_at(lab, left.commit), goals_at(lab, right.commit), left, right)
    times = tuple(Change(label(a), "seconds", a.seconds, b.seconds) for a, b in found.pairs)
    same_packages = len(read_pins(requirements[0])) - sum(each.old is not None
                                                          for each in packages)
    return TagDiff(
        _facts(left), _facts(right), code_change(lab, left.commit, right.commit), found.params,
        packages, found.data, goals, found.metrics, times,
        {"params": found.same_params, "packages": same_packages, "data": found.same_data,
         "metrics": found.same_metrics},
        addresses={})


def _facts(results: TagResults) -> TagFacts:
    return TagFacts(results.tag, results.commit, results.build, results.message,
                    {label(run): run.status for run in results.runs})


def goal_changes(
    old: list[Goal], new: list[Goal], left: TagResults, right: TagResults
) -> tuple[GoalChange, ...]:
    """Return the goals that differ, and those by which a run of the tags is judged.

    Each tag is judged by the goals of its own commit.
    """
    bounds = [{(goal.process, goal.metric, goal.at_least): goal for goal in goals}
              for goals in (old, new)]
    found = []
    for key in sorted(bounds[0].keys() | bounds[1].keys()):
        a, b = (each.get(key) for each in bounds)
        found.append(GoalChange(
            key[0], key[1], "at least" if key[2] else "at most", a.bound if a else None,
            b.bound if b else None, is_met(a, left.runs), is_met(b, right.runs)))
    return tuple(each for each in found
                 if not each.is_same or (each.old_met, each.new_met) != (None, None))


def is_met(goal: Goal | None, runs: tuple[RunResult, ...]) -> bool | None:
    """Return whether all runs of a goal's process meet it; None without a goal or a run."""
    values = [run.metrics.get(goal.metric) for run in runs
              if run.process == goal.process] if goal else []
    if goal is None or not values:
        return None
    return all(value is not None and (
        value >= goal.bound if goal.at_least else value <= goal.bound) for value in values)


def addresses(
    client: MlflowClient, experiment: str, uri: str, found: Differences
) -> dict[str, str]:
    """Return the pages of MLflow's UI that compare the runs of each pair."""
    known = client.get_experiment_by_name(experiment)
    if known is None:
        return {}
    where = uri.rstrip("/") if uri.startswith("http") else ""
    experiments = json.dumps([known.experiment_id])
    runs = {label(a): json.dumps([a.run_id, b.run_id], separators=(",", ":"))
            for a, b in found.pairs}
    return {name: f"{where}/#/compare-runs?runs={ids}&experiments={experiments}"
            .replace('"', "%22") for name, ids in runs.items()}  # terminals end a link at "
