"""What the runs of a tag gave: read once from MLflow and git, and plain data from then on."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from taglab.git import run_git
from taglab.tracking.summary import FINISHED, PARENT, find_runs


class NoResults(ValueError):
    """A tag that is not there, or has no runs; the message says what to type."""


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    started: in seconds since the epoch.
    seconds: how long it took; None while it runs.
    metrics: the last value of each.
    data: the digests of MLflow's dataset inputs, by name.
    models: the ids of the models that it logged.
    nested: the runs that are nested in it, oldest first.
    """

    run_id: str
    name: str
    process: str
    status: str
    started: float
    seconds: float | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    data: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    nested: tuple["RunResult", ...] = ()


@dataclass(frozen=True)
class TagResults:
    """A tag and its runs.

    build: the number of the build that made the newest of them; "" where none is known.
    message: the first line of the tag's own message, else of its commit's.
    runs: by process; of each the newest run with the same name and configuration, or, in a wide
        job, index. One that finished comes before others.
    """

    tag: str
    commit: str
    build: str
    message: str
    runs: tuple[RunResult, ...]


def read_tag_results(
    client: MlflowClient | None, experiment: str, tag: str, lab: Path, store: str = "the store"
) -> TagResults:
    """Return the results of a tag of the lab's repository.

    client: None where nothing was ever stored.
    store: what a message calls the place of the runs.

    Raises NoResults when git has no such tag, or when no run is of the commit that it names.
    """
    commit, message = find_tag(lab, tag)
    found = find_runs(client, experiment, of_tag(tag)) if client else []
    runs = [run for run in found if run.data.tags.get("commit", commit) == commit]
    if not runs:
        others = sorted({run.data.tags["commit"][:7] for run in found})
        raise NoResults(
            f"no run of {tag} is in {store}" + (
                f" for the commit {commit[:7]} that it names now, only for {', '.join(others)}"
                if others else "") +
            f". To run it, type: git push {runner_remote(lab)} {tag}; where it was pushed before, "
            "lab builds names its build, and lab restart NUMBER runs it again")
    parents = _nested(runs)
    newest = max(parents, key=lambda run: run.started)
    return TagResults(tag, commit, newest.tags.get("build", ""), message, newest_runs(parents))


def of_tag(tag: str) -> str:
    """Return MLflow's search filter for the runs of a tag."""
    quote = '"' if "'" in tag else "'"
    return f"tags.`tag` = {quote}{tag}{quote}"


def find_tag(lab: Path, tag: str) -> tuple[str, str]:
    """Return the commit of a tag, and the first line of the tag's message, else of the commit's.

    Raises NoResults, with tags that have a similar name, when there is none.
    """
    known = lab_tags(lab)
    if tag not in known:
        near = difflib.get_close_matches(tag, known, n=3)
        nearest = f"; the nearest are {', '.join(near)}" if near else ""
        raise NoResults(f"there is no tag {tag}{nearest}. To list all, type: git tag")
    line = _git(lab, "for-each-ref", "--format=%(contents:subject)", f"refs/tags/{tag}")
    commit = _git(lab, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}").strip()
    if not commit:
        raise NoResults(f"the tag {tag} names no commit")
    return commit, line.strip()


def lab_tags(lab: Path) -> list[str]:
    """Return the tags of the lab's repository, newest first."""
    return _git(lab, "for-each-ref", "--sort=-creatordate", "--format=%(refname:lstrip=2)",
                "refs/tags").split()


def runner_remote(lab: Path) -> str:
    """Return the name of the remote that runs what is pushed, as far as this folder knows."""
    urls = _git(lab, "config", "--get-regexp", r"^remote\..*\.url$").splitlines()
    names = (line.split()[0].removeprefix("remote.").removesuffix(".url") for line in urls
             if line.endswith(" .lab/origin.git"))
    return next(names, "origin")


def newest_runs(runs: list[RunResult]) -> tuple[RunResult, ...]:
    """Return the newest of the runs that did the same, by process; finished ones before others.

    A run that ended before it had a configuration is left out where its process has another.
    """
    best: dict[tuple[str, ...], RunResult] = {}
    for run in sorted(runs, key=lambda run: (run.status == FINISHED, run.started)):
        best[run.process, run.name, *(run.tags.get(name, "") for name in (
            "config_hash", "index"))] = run
    finished = {run.process for run in best.values() if run.status == FINISHED}
    return tuple(sorted(
        (run for run in best.values()
         if "reason" not in run.tags or run.status == FINISHED or run.process not in finished),
        key=lambda run: (run.process, run.started)))


def artifact_paths(client: MlflowClient, run_id: str) -> list[str]:
    """Return the paths of all files among a run's artifacts, sorted."""
    return sorted(_files(client, run_id, None))


def _files(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[str]:
    for item in client.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from _files(client, run_id, item.path)
        else:
            yield item.path


def _nested(runs: list[Run]) -> list[RunResult]:
    """Return the runs that are nested in none of the others, with those that are nested in them."""
    known = {run.info.run_id for run in runs}
    children: dict[str | None, list[Run]] = {}
    for run in runs:
        parent = run.data.tags.get(PARENT)
        children.setdefault(parent if parent in known else None, []).append(run)

    def below(parent: str | None) -> list[RunResult]:
        return [run_result(run, tuple(below(run.info.run_id))) for run in children.get(parent, [])]

    return below(None)


def run_result(run: Run, nested: tuple[RunResult, ...] = ()) -> RunResult:
    """Return what an MLflow run gave."""
    info, tags = run.info, run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    outputs = run.outputs.model_outputs if run.outputs else []
    seconds = (info.end_time - info.start_time) / 1000 if info.end_time else None
    return RunResult(
        info.run_id, info.run_name or "", tags.get("process", ""), info.status,
        info.start_time / 1000, seconds, run.data.params, run.data.metrics, tags,
        {each.dataset.name: each.dataset.digest for each in inputs},
        tuple(each.model_id for each in outputs), nested)


def _git(lab: Path, *arguments: str) -> str:
    return run_git(*arguments, cwd=lab).stdout.decode(errors="replace")
