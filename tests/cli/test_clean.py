"""`lab clean`: what it lists and removes and, above all, what it leaves alone."""
from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from taglab.cli.leftovers import DAY
from taglab.engines.drone.variables import Commit
from taglab.runner.builds import Builds
from taglab.runner.requirements import requirements_hash
from taglab.testing import empty_store  # noqa: F401  fixture
from taglab.tracking.quick_mlflow import mlflow
from tests.runner.conftest import WAIT, Lab, wait_for
from mlflow.entities import LoggedModelInput

COMMIT = Commit("tag", "refs/tags/exp-1", "0" * 40, "", "", "", "", "")
OLD = time() - 40 * DAY


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of environments of a user who has those of the lab command alone."""
    from taglab.runner.environment import ensure_environment, environments_folder
    runner = ensure_environment(Path(sys.modules["taglab"].__path__[0]) / "runner", print)
    monkeypatch.delenv("LAB_STATE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    environments_folder().mkdir(parents=True)
    (environments_folder() / runner.name).symlink_to(runner)
    return environments_folder()


def clean(lab: Lab, *options: str) -> list[str]:
    """Run the command; return the kinds and names of what it found."""
    done = lab.lab("clean", "--json", *options)
    assert done.returncode == 0, done.stdout
    return sorted(f"{each['kind']} {Path(each['path']).name}" for each in json.loads(done.stdout))


def add_builds(lab: Lab, count: int, ended: float, status: str = "success") -> None:
    """Record builds that have ended."""
    builds = Builds(lab.path)
    for _ in range(count):
        build, hold = builds.create(COMMIT, [], ended, status=status)
        builds.log(build.number).write_text("line\n" * 100)
        hold.close()


def age(path: Path, when: float = OLD) -> None:
    """Make a file or a folder look as if nobody had touched it since."""
    os.utime(path, (when, when))


def test_old_builds_are_listed_then_removed_and_the_newest_stay(lab: Lab) -> None:
    add_builds(lab, 5, OLD)
    add_builds(lab, 1, time())
    assert clean(lab) == []
    assert clean(lab, "--keep", "2", "--days", "50") == []
    assert clean(lab, "--keep", "1", "--days", "30") == [f"build {each}" for each in range(1, 6)]
    shown = lab.lab("clean", "--keep", "3").stdout
    assert "build: 3, " in shown and ".lab/builds/1  (exp-1, success: " in shown
    assert shown.endswith("nothing is removed yet. To remove it, add: --yes\n")
    assert Builds(lab.path).numbers() == [1, 2, 3, 4, 5, 6]
    assert lab.lab("clean", "--keep", "3", "--yes").stdout.splitlines()[-1].startswith("removed: ")
    assert sorted(path.name for path in Builds(lab.path).root.iterdir()) == ["4", "5", "6"]
    assert lab.lab("clean").stdout == "nothing to remove\n"
    assert lab.lab("clean", "--keep", "0").returncode == 3  # the numbers go on from the newest


def test_a_build_that_runs_stays_with_all_it_uses(lab: Lab, cache: Path) -> None:
    lab.write("requirements.txt", "")
    lab.pipeline(f"steps:\n- {{name: a, image: 'x:1', commands: ['{WAIT}']}}\n")
    lab.git("tag", "exp-1")
    push = lab.start_push("origin", "exp-1")
    wait_for(lambda: lab.build(1) and any((Builds(lab.path).folder(1) / "work").glob("*/*")))
    add_builds(lab, 1, time())
    [environment] = [ready.parent for ready in cache.glob(f"{requirements_hash(lab.path)}-*/ready")]
    age(environment / "ready")
    lab.write("requirements.txt", "other==1\n")  # the lab goes on meanwhile
    try:
        assert clean(lab, "--keep", "1", "--days", "1", "--yes", "--unfinished") == []
        assert (environment / "ready").exists()
    finally:
        lab.write(".lab/state.go", "")
        push.wait()
    assert lab.build(1).status == "success", Builds(lab.path).log(1).read_text()
    age(environment / "ready")
    assert clean(lab) == [f"environment {environment.name}"]


def test_what_killed_builds_leave_is_removed_also_where_it_may_not_be_written(lab: Lab) -> None:
    add_builds(lab, 1, time())
    folder = Builds(lab.path).folder(1)
    closed = folder / "work" / "1" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0o500)
    for name in ("new-killed", "new-begins", "removed-7"):
        (folder.parent / name).mkdir()
    (folder.parent / "new-runs").mkdir()
    with (folder.parent / "new-runs" / "held").open("w") as hold:
        fcntl.flock(hold, fcntl.LOCK_EX)
        for name in ("new-killed", "new-runs"):
            age(folder.parent / name)
        wanted = ["work of a build new-killed", "work of a build removed-7", "work of a build work"]
        assert clean(lab) == wanted and clean(lab, "--yes") == wanted
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1", "new-begins", "new-runs"]
    assert (folder / "log").exists() and not (folder / "work").exists()


def test_environments_that_were_not_used_are_removed_and_those_of_the_lab_stay(
        lab: Lab, cache: Path) -> None:
    lab.write("requirements.txt", "")
    assert lab.lab("init").returncode == 0
    own = {path.name for path in cache.iterdir() if path.is_dir()}
    for name in ("unused", "recent", "half-made", "in-work"):
        (cache / name / "bin").mkdir(parents=True)
    for name in ("unused", "recent", *own):
        (cache / name / "ready").touch()
    for name in ("unused", *own):
        age(cache / name / "ready")
    (cache.with_name("uv") / "wheels").mkdir(parents=True)
    with (cache / "in-work.lock").open("w") as hold:
        fcntl.flock(hold, fcntl.LOCK_EX)
        assert clean(lab) == ["environment half-made", "environment unused"]
    (cache / "in-work" / "ready").touch()
    assert clean(lab, "--yes") == ["cache uv", "environment half-made", "environment unused"]
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {"recent", "in-work", *own}
    assert lab.run(".venv/bin/lab", "builds").returncode == 0


def test_artifacts_that_no_run_has_are_removed_and_none_that_a_run_names(
        lab: Lab, empty_store: Path) -> None:  # noqa: F811
    mlartifacts = lab.path / "mlartifacts"
    clients = {}
    for name in ("mlflow.db", "old.db"):  # an older commit has a store of its own
        shutil.copy(empty_store, lab.path / name)
        clients[name] = mlflow.MlflowClient(f"sqlite:///{lab.path}/{name}")
    client = clients["mlflow.db"]
    experiment = {name: each.create_experiment("lab", mlartifacts.as_uri())
                  for name, each in clients.items()}

    def add_run(name: str = "mlflow.db") -> str:
        run = clients[name].create_run(experiment[name]).info.run_id
        clients[name].log_text(run, "x" * 10, "a.txt")
        return run

    def add_model(run: str) -> str:
        model = client.create_logged_model(experiment["mlflow.db"], "m", source_run_id=run).model_id
        (mlartifacts / "models" / model / "artifacts").mkdir(parents=True)
        return model

    live, of_old_store, deleted, registered, named = (
        add_run(), add_run("old.db"), add_run(), add_run(), add_run())
    kept_model, lost_model, read_model = add_model(live), add_model(deleted), add_model(deleted)
    client.create_registered_model("best")
    client.create_model_version("best", f"{mlartifacts.as_uri()}/{registered}/artifacts", None)
    client.log_param(live, "start_from", f"runs:/{named}/model")
    client.log_inputs(live, models=[LoggedModelInput(read_model)])
    for run in (deleted, registered, named):
        client.delete_run(run)
    unknown = "0123456789abcdef" * 2
    for path in (unknown, "notes", "traces/tr-1"):
        (mlartifacts / path).mkdir(parents=True)

    wanted = sorted(f"artifacts {each}" for each in (deleted, lost_model, unknown))
    assert clean(lab) == wanted and clean(lab, "--yes") == wanted
    left = {path.name for path in mlartifacts.glob("*")} | {
        path.name for path in mlartifacts.glob("models/*")}
    assert left == {live, of_old_store, registered, named, kept_model, read_model,
                    "notes", "traces", "models"}
    assert client.download_artifacts(live, "a.txt") and client.get_run(deleted)


def test_without_a_store_or_with_a_broken_one_every_artifact_stays(lab: Lab) -> None:
    folder = lab.path / "mlartifacts" / ("0" * 32)
    folder.mkdir(parents=True)
    assert clean(lab, "--yes") == []  # results may be in a store elsewhere
    lab.write("mlflow.db", "SQLite format 3, but no more than that" * 99)
    done = lab.lab("clean", "--yes")
    assert done.returncode == 1 and "the store of results cannot be read" in done.stdout
    assert done.stdout.endswith("Type: lab doctor\n") and folder.exists()


def test_journals_of_finished_searches_go_and_what_can_be_resumed_stays_unless_it_is_wanted(
        lab: Lab, empty_store: Path) -> None:  # noqa: F811
    shutil.copy(empty_store, lab.path / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{lab.path}/mlflow.db")
    for name, status in (("done", "FINISHED"), ("busy", "FINISHED"), ("stopped", "KILLED"),
                         ("runs", "RUNNING"), ("gone", "KILLED")):
        run = client.create_run("0", tags={"search": f"id-{name}"}).info.run_id
        client.set_terminated(run, status)
        if name == "gone":
            client.delete_run(run)
        lab.write(f".lab/state/searches/{name}/trials.jsonl", f'"id-{name}"\n{{}}\n')
    lab.write(".lab/state/searches/damaged/trials.jsonl", "")
    state = lab.path / ".lab" / "state"
    for name in ("a-1.pt", "a-1.pt.77", "b-2.pt", "b-2.pt.78"):
        lab.write(f".lab/state/training/{name}", "weights")
    age(state / "training/a-1.pt")
    age(state / "training/a-1.pt.77")
    age(state / "searches/stopped/trials.jsonl")
    lab.write(".lab/state/outbox/x-1/calls.jsonl", "{}\n")
    age(state / "outbox/x-1")
    busy = os.open(state / "searches" / "busy", os.O_RDONLY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    try:
        assert clean(lab, "--yes") == ["checkpoint a-1.pt.77", "search done", "search gone"]
        assert clean(lab, "--yes", "--unfinished") == ["checkpoint a-1.pt", "search stopped"]
    finally:
        os.close(busy)
    assert {path.name for path in (state / "searches").iterdir()} == {"busy", "runs", "damaged"}
    assert {path.name for path in (state / "training").iterdir()} == {"b-2.pt", "b-2.pt.78"}
    assert (state / "outbox/x-1/calls.jsonl").exists()


def test_what_cannot_be_removed_is_named(lab: Lab) -> None:
    if os.geteuid() == 0 and subprocess.run(
            ["sh", "-c", "command -v chattr"], capture_output=True).returncode:
        pytest.skip("root may remove everything here")
    add_builds(lab, 1, OLD)
    add_builds(lab, 1, OLD)
    root = Builds(lab.path).root
    lock = ["chattr", "+i", "-R", str(root / "1")] if os.geteuid() == 0 else ["chmod", "a-w", root]
    if subprocess.run(lock, capture_output=True).returncode:
        pytest.skip("this file system has no attribute for it")
    try:
        done = lab.lab("clean", "--keep", "1", "--yes")
    finally:
        subprocess.run(["chattr", "-i", "-R", str(root / "1")], capture_output=True)
        root.chmod(0o755)
    assert done.returncode == 1 and lab.build(1)
    assert f"error: {root}/1 could not be removed; " in done.stdout
