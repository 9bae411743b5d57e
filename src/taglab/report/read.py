"""Reads what a report tells: from MLflow, and from git."""

import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient

from taglab.ci import Build
from taglab.git import run_git
from taglab.report.facts import FigureFile, ReportFacts, goal_results
from taglab.results import NoResults, RunResult, TagResults, read_tag_results
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
    build: the one whose clone `lab` is: it has commits, and need not have their tags.

    Raises NoResults when there is nothing to report, or no results of `against`.
    """
    client, experiment = open_store(), experiment_name()
    with _repository(lab, build) as repository:
        if build:  # an annotated tag, which has a message, is what the clone fetched
            name_tag(lab, repository, tag, build.commit, "FETCH_HEAD")
        results = read_tag_results(client, experiment, tag, repository, tracking_uri())
        assert client is not None  # it has runs
        last, commit = (against, "") if against else last_tag(client, experiment, results)
        if build and last:
            name_tag(lab, repository, last, commit)
        difference, reason = read_difference(client, experiment, repository, results, last,
                                             needed=against is not None)
        goals = goal_results(goals_at(repository, results.commit), results.runs)
    figures = read_figures(client, results.runs, room)
    facts = ReportFacts(
        experiment, results, goals, difference, reason, read_packages(client, results.runs),
        tuple(figure for figure, _ in figures), clone_address(lab), time.time(),
        platform.platform())
    return facts, [(figure, data) for figure, data in figures if figure.shown]


@contextmanager
def _repository(lab: Path, build: Build | None) -> Iterator[Path]:
    """Yield a repository to ask; in a build one beside the clone, which may be read only."""
    if build is None:
        yield lab
        return
    with TemporaryDirectory() as folder:
        run_git("clone", "--quiet", "--bare", "--shared", str(lab), folder, cwd=lab)
        yield Path(folder)


def name_tag(clone: Path, repository: Path, tag: str, commit: str, *more: str) -> None:
    """Let a tag of a repository name a commit of the clone, as one of `more` does there, if any.

    Where the clone has no such commit, nothing is done.
    """
    for name in (f"refs/tags/{tag}", *more, commit) if commit else ():
        found = [run_git("rev-parse", "--verify", "--quiet", each, cwd=clone).stdout.decode()
                 for each in (name, f"{name}^{{commit}}")]
        if found[1].strip() == commit:
            run_git("update-ref", f"refs/tags/{tag}", found[0].strip(), cwd=repository)
            return


def read_difference(
    client: MlflowClient, experiment: str, repository: Path, results: TagResults, last: str,
    needed: bool
) -> tuple[TagDiff | None, str]:
    """Return how a tag differs from another one, or why it is not known.

    Raises NoResults when it is needed.
    """
    if not last:
        return None, f"No earlier tag {pipeline_of(results.tag)}-… has runs that finished."
    try:
        other = read_tag_results(client, experiment, last, repository, tracking_uri())
    except NoResults as error:
        if needed:
            raise
        return None, (f"{last} ran before, and is not compared here: {error}. In a clone that has "
                      f"both tags, type: lab report {results.tag}")
    return tag_diff(repository, other, results), ""


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


def runs_of_build(client: MlflowClient, build: Build) -> list[str]:
    """Return the ids of the runs of a build that are not nested."""
    runs = find_runs(client, experiment_name(), f"{of_build(build.number)} and {of_tag(build.tag)}")
    return [run.info.run_id for run in runs if PARENT not in run.data.tags]
