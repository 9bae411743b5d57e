"""What is read of a tag: the newest run of each process, for the commit that the tag names."""
from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from taglab.results import RunResult, NoResults, TagResults, artifact_paths, read_tag_results
from taglab.results.tag_results import newest_runs
from taglab.testing import EXPERIMENT, store_in
from taglab.tracking import start_run
from tests.results.conftest import Git, result


@pytest.fixture
def read(own_store: Path, lab_folder: Path):
    """Return a function that reads a tag's results from the store."""
    def of_tag(tag: str) -> TagResults:
        client = mlflow.MlflowClient(store_in(own_store))
        return read_tag_results(client, EXPERIMENT, tag, lab_folder, "my store")
    return of_tag


def log(monkeypatch: pytest.MonkeyPatch, tag: str, commit: str, build: int, score: float) -> str:
    """Log a run of the process `wine` as a build does, with two nested ones; return its id."""
    for name, value in {"TAG": tag, "COMMIT_SHA": commit, "BUILD_NUMBER": str(build)}.items():
        monkeypatch.setenv(f"DRONE_{name}", value)
    with start_run("wine/main.py", {"seed": 0}) as run:
        mlflow.log_metric("score", score)
        mlflow.log_text("1", "folder/table.csv")
        mlflow.log_input(mlflow.data.from_numpy(__import__("numpy").arange(3), name="rows"))
        for name in ("a", "b"):
            with mlflow.start_run(run_name=name, nested=True):
                mlflow.log_metric("score", score / 2)
    return run.info.run_id


def test_the_newest_run_of_the_commit_that_the_tag_names_is_read_with_all_that_it_gave(
        git: Git, read, monkeypatch) -> None:
    git("tag", "-a", "wine-v1", "-m", "The first wine\n\nMore.")
    commit = git("rev-parse", "HEAD")
    log(monkeypatch, "wine-v1", "0" * 40, 1, 0.1)  # before the tag was moved
    log(monkeypatch, "wine-v1", commit, 2, 0.2)
    newest = log(monkeypatch, "wine-v1", commit, 3, 0.3)
    log(monkeypatch, "wine-v2", commit, 4, 0.4)
    found = read("wine-v1")
    assert (found.tag, found.commit, found.build, found.message) == (
        "wine-v1", commit, "3", "The first wine")
    [run] = found.runs
    assert (run.run_id, run.process, run.status) == (newest, "wine", "FINISHED")
    assert run.params == {"seed": "0"} and run.metrics == {"score": 0.3}
    assert list(run.data) == ["rows"] and run.tags["dirty"] == "false"
    assert run.seconds is not None and 0 < run.seconds < 60
    assert [(each.name, each.metrics["score"]) for each in run.nested] == [("a", .15), ("b", .15)]
    assert artifact_paths(mlflow.MlflowClient(), newest) == [
        "folder/table.csv", "output.log", "versions.txt"]


def test_a_tag_that_is_not_there_or_never_ran_says_what_to_type(
        git: Git, read, lab_folder, own_store, monkeypatch) -> None:
    for tag in ("wine-v1", "wine-v2", "beer-v1"):
        git("tag", tag)
    with pytest.raises(NoResults, match="no tag wine-v3; the nearest are wine-v2, wine-v1"):
        read("wine-v3")
    with pytest.raises(NoResults, match="no tag x. To list all, type: git tag"):
        read("x")
    with pytest.raises(NoResults, match="no run of it's is in the store.*git push origin it's"):
        git("tag", "it's")
        read_tag_results(None, EXPERIMENT, "it's", lab_folder)
    git("remote", "add", "local", ".lab/origin.git")
    with pytest.raises(NoResults, match="no run of it's is in my store.*git push local it's"):
        read("it's")
    log(monkeypatch, "wine-v1", "f" * 40, 1, 0.1)
    with pytest.raises(NoResults, match=r"the commit \w{7} that it names now, only for fffffff\."):
        read("wine-v1")


def test_of_runs_that_did_the_same_the_finished_and_then_the_newest_counts() -> None:
    def run(started: float, status: str = "FINISHED", **tags: str) -> RunResult:
        return result(started=started, status=status, tags={"config_hash": "a", **tags})

    assert newest_runs([run(1), run(3, "KILLED"), run(2)]) == (run(2),)
    assert newest_runs([run(1, "FAILED"), run(2, "KILLED")]) == (run(2, "KILLED"),)
    other = run(1, config_hash="b")
    assert newest_runs([run(2), other, run(3)]) == (other, run(3)), "another configuration"
    pods = (run(1, index="0"), run(2, index="1"))
    assert newest_runs([*pods]) == pods
    unstarted = result(started=9, status="FAILED", tags={"reason": "it ended before it began"})
    assert newest_runs([unstarted, run(2)]) == (run(2),)
    assert newest_runs([unstarted]) == (unstarted,)
