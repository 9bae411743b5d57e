"""Reads what a report tells: from MLflow, and from git."""

import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient

from taglab.ci import Build
from taglab.git import run_git
from taglab.report.facts import FigureFile, ReportFacts, goal_results
from taglab.results import RunResult, TagError, TagResults, read_tag_results
from taglab.results.commits import goals_at, read_pins
from taglab.results.diff import TagDiff, tag_diff
from taglab.results.differences import label
from taglab.results.tag_results import of_tag
from taglab.tracking.connection import experiment_name, open_store, tracking_uri
from taglab.tracking.summary import PARENT, find_runs, of_build

LARGEST = 600_000  # bytes of an image in a page
PACKAGES = "versions.txt"  # the artifact of each run that names them
Pictures = list[tuple[FigureFile, bytes]]


def read_report(
    lab: Path, tag: str, against: str | None = None, room: int = 0, build: Build | None = None
) -> tuple[ReportFacts, Pictures]:
    """Return what a report on a tag tells, and the images that a page with so many bytes shows.

    against: the tag to compare with; by default the last one of the same pipeline.
    build: the one whose clone `lab` is. Such a clone has commits and no tags: it gets them.

    Raises TagError when there is nothing to report, or no results of `against`.
    """
    if build:
        name_tag(lab, tag, build.commit, "FETCH_HEAD")  # an annotated tag has a message
    client, experiment = open_store(), experiment_name()
    results = read_tag_results(client, experiment, tag, lab, tracking_uri())
    assert client is not None  # it has runs
    figures = read_figures(client, results.runs, room)
    difference, reason = read_difference(client, experiment, lab, results, against, build)
    facts = ReportFacts(
        experiment, results, goal_results(goals_at(lab, results.commit), results.runs),
        difference, reason, read_packages(client, results.runs),
        tuple(figure for figure, _ in figures), clone_address(lab), time.time(),
        platform.platform())
    return facts, [(figure, data) for figure, data in figures if figure.shown]


def read_difference(
    client: MlflowClient, experiment: str, lab: Path, results: TagResults, against: str | None,
    build: Build | None,
) -> tuple[TagDiff | None, str]:
    """Return how a tag differs from `against`, or the last of its pipeline; or why it is not known.

    Raises TagError when `against` has no results.
    """
    if against is not None:
        other = read_tag_results(client, experiment, against, lab, tracking_uri())
        return tag_diff(lab, other, results), ""
    last, commit = last_tag(client, experiment, results)
    if not last:
        return None, f"No earlier tag {pipeline_of(results.tag)}-… has runs that finished."
    if build:
        name_tag(lab, last, commit)
    try:
        other = read_tag_results(client, experiment, last, lab, tracking_uri())
    except TagError as error:
        return None, (f"{last} ran before, and is not compared here: {error}. In a clone that has "
                      f"both tags, type: lab report {results.tag}")
    return tag_diff(lab, other, results), ""


def pipeline_of(tag: str) -> str:
    """Return the name of a tag before its last `-`: what tags of one pipeline have in common."""
    return tag.rpartition("-")[0] or tag


def last_tag(client: MlflowClient, experiment: str, results: TagResults) -> tuple[str, str]:
    """Return the tag of the same pipeline that last finished a run before these began.

    With its commit; both are "" where there is none.
    """
    found = client.get_experiment_by_name(experiment)
    name = pipeline_of(results.tag)
    quote = '"' if "'" in name else "'"
    condition = (f"tags.`tag` LIKE {quote}{name}-%{quote} and attributes.status = 'FINISHED' and "
                 f"attributes.start_time < {min(run.started for run in results.runs) * 1000:.0f}")
    others = {results.tag}
    while found:
        wanted = condition + "".join(f" and {of_tag(tag).replace('=', '!=', 1)}" for tag in others)
        runs = client.search_runs([found.experiment_id], wanted, max_results=1,
                                  order_by=["attributes.start_time DESC"])
        if not runs:
            break
        tag = runs[0].data.tags["tag"]
        if pipeline_of(tag) == name:
            return tag, runs[0].data.tags.get("commit", "")
        others.add(tag)  # of a pipeline whose name begins with that of this one
    return "", ""


def read_packages(client: MlflowClient, runs: tuple[RunResult, ...]) -> dict[str, str]:
    """Return the versions of the packages that the first run which recorded them had."""
    for run in runs:
        if any(item.path == PACKAGES for item in client.list_artifacts(run.run_id)):
            return dict(read_pins(_download(client, run.run_id, PACKAGES).decode()))
    return {}


def read_figures(
    client: MlflowClient, runs: tuple[RunResult, ...], room: int
) -> Pictures:
    """Return the PNG images of the runs, with the bytes of those for which there is room."""
    found = [(run, sorted(_images(client, run.run_id))) for run in runs]
    share = room // (sum(bool(images) for _, images in found) or 1)
    figures = []
    for run, images in found:
        left = share
        for path, size in images:
            data = _download(client, run.run_id, path) if size <= min(left, LARGEST) else b""
            shown = data.startswith(b"\x89PNG")
            figures.append((FigureFile(label(run), path, size, shown), data))
            left -= size if shown else 0
    return figures


def _images(client: MlflowClient, run_id: str, folder: str | None = None
            ) -> Iterator[tuple[str, int]]:
    for item in client.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from _images(client, run_id, item.path)
        elif item.path.lower().endswith(".png"):
            yield item.path, item.file_size or 0


def _download(client: MlflowClient, run_id: str, path: str) -> bytes:
    with TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, path, folder)).read_bytes()


def clone_address(lab: Path) -> str:
    """Return the address of the lab's origin without a password, or "" for a path on this machine.
    """
    url = run_git("remote", "get-url", "origin", cwd=lab).stdout.decode(errors="replace").strip()
    is_remote = re.match(r"(https?|ssh|git)://|[\w.-]+@[\w.-]+:", url)
    return re.sub(r"^(https?://)[^/@]*@", r"\1", url) if is_remote else ""


def name_tag(lab: Path, tag: str, commit: str, *more: str) -> None:
    """Let a tag of a clone name a commit, as FETCH_HEAD or another of `more` does, if one does.

    A tag that names the commit already stays. Where the clone has no such commit, nothing is done.
    """
    ref = f"refs/tags/{tag}"
    for name in (ref, *more, commit) if commit else ():
        named = run_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", cwd=lab).stdout
        if named.decode().strip() == commit:
            if name != ref:
                run_git("update-ref", ref, name, cwd=lab)
            return


def runs_of_build(client: MlflowClient, build: Build) -> list[str]:
    """Return the ids of the runs of a build that are not nested."""
    runs = find_runs(client, experiment_name(), f"{of_build(build.number)} and {of_tag(build.tag)}")
    return [run.info.run_id for run in runs if PARENT not in run.data.tags]
