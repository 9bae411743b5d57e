"""`lab report` on a real store and a real repository, and the step of a pipeline."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from taglab.git import run_git
from taglab.report.command import main
from taglab.report.read import clone_address
from taglab.testing import runs_in
from taglab.tracking import start_run
from tests.report.conftest import PNG

Log = Callable[..., None]
GOALS = '[[goal]]\nprocess = "wine"\nmetric = "score"\nat_least = 0.9\n'


@pytest.fixture
def log(git, own_store: Path, lab_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Return a function that logs a run of the process `wine` as the build of a new tag does.

    After it, this process is still in the build.
    """
    (lab_folder / "goals").mkdir()
    (lab_folder / "goals" / "goals.toml").write_text(GOALS)
    numbers = iter(range(1, 10))

    def of_tag(tag: str, score: float, fails: bool = False) -> None:
        number = next(numbers)
        (lab_folder / "requirements.txt").write_text(f"numpy=={number}.0\n")
        git("add", "-A")
        git("commit", "-qm", f"Change {number}")
        git("tag", "-a", tag, "-m", f"Question {number}")
        for name, value in {"TAG": tag, "COMMIT_SHA": git("rev-parse", "HEAD"),
                            "BUILD_NUMBER": str(number)}.items():
            monkeypatch.setenv(f"DRONE_{name}", value)
        try:
            with start_run("wine/main.py", {"seed": number}):
                mlflow.log_metric("score", score)
                if fails:
                    1 / 0
                for name, data in {"a.png": PNG, "big.png": PNG + bytes(700_000),
                                   "fake.png": b"<script>"}.items():
                    (own_store / name).write_bytes(data)
                    mlflow.log_artifact(str(own_store / name), "figures")
        except ZeroDivisionError:
            pass
    return of_tag


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """Return the facts that a report prints as JSON."""
    assert main([*words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_report_tells_what_ran_and_how_it_differs_from_the_last_tag_of_the_pipeline(
        log: Log, lab_folder: Path, capsys) -> None:
    log("wine-v1", 0.95)
    log("wine-red-v7", 0.1)
    log("wine-v2", 0.1, fails=True)
    log("wine-v3", 0.875)
    facts = told(capsys, "wine-v3")
    assert (facts["results"]["message"], facts["results"]["build"]) == ("Question 4", "4")
    assert [(goal["value"], goal["met"]) for goal in facts["goals"]] == [(0.875, False)]
    diff = facts["difference"]
    assert diff["old"]["tag"] == "wine-v1", "wine-v2 failed, and wine-red is another pipeline"
    assert diff["metrics"] == [{"run": "wine", "name": "score", "old": 0.95, "new": 0.875}]
    assert diff["packages"] == [{"name": "numpy", "old": "1.0", "new": "4.0"}]
    assert facts["packages"]["mlflow"] == mlflow.__version__
    assert [(each["path"], each["shown"]) for each in facts["figures"]] == [
        ("figures/a.png", True), ("figures/big.png", False), ("figures/fake.png", False)]
    assert not (lab_folder / ".lab" / "reports").exists()

    assert told(capsys, "wine-v3", "--against", "wine-red-v7")["difference"]["old"]["build"] == "2"
    first = told(capsys, "wine-v1")
    assert first["difference"] is None
    assert first["no_difference"] == "No earlier tag wine-… has runs that finished."

    assert main(["wine-v3"]) == 0
    page, text = map(Path, capsys.readouterr().out.split())
    assert page == lab_folder / ".lab/reports/wine-v3.html" and text.suffix == ".md"
    assert page.read_text().count("data:image/png") == 1 and "-7.89 %" in text.read_text()
    assert "Difference to wine-v1" in page.read_text()


def test_nothing_but_a_report_on_the_tag_is_overwritten(
        log: Log, lab_folder: Path, tmp_path: Path, capsys) -> None:
    log("wine-v1", 0.95)
    words = ["wine-v1", "--output", str(tmp_path / "out")]
    assert main(words) == main(words) == 0
    mine = tmp_path / "out" / "wine-v1.md"
    page = mine.with_suffix(".html")
    mine.write_text("mine")
    page.write_text("taglab report [wine-v1] old")
    assert main(words) == 1
    assert f"error: {mine} is there already, and is no report on wine-v1" in capsys.readouterr().err
    assert (mine.read_text(), page.read_text()) == ("mine", "taglab report [wine-v1] old")
    assert sorted(path.name for path in mine.parent.iterdir()) == ["wine-v1.html", "wine-v1.md"]
    (tmp_path / "x.ipynb").write_text("{}")
    assert main(["wine-v1", "--notebook", str(tmp_path / "x.ipynb")]) == 3
    assert main(["wine-v9"]) == 3
    assert "x.ipynb: it is no notebook" in (said := capsys.readouterr().err)
    assert "error: there is no tag wine-v9; the nearest are wine-v1" in said
    assert not (lab_folder / ".lab" / "reports").exists()


def test_the_step_of_a_build_whose_clone_has_no_tags_keeps_a_report_with_its_runs(
        log: Log, git, own_store: Path, capsys) -> None:
    log("wine-v1", 0.95)
    first = git("rev-parse", "HEAD")
    log("wine-v2", 0.5)
    tag = git("rev-parse", "refs/tags/wine-v2")
    git("tag", "-d", "wine-v1", "wine-v2")
    (Path(git("rev-parse", "--absolute-git-dir")) / "FETCH_HEAD").write_text(
        f"{tag}\t\ttag 'wine-v2' of ../origin\n")  # what Drone's clone leaves
    assert main([]) == 0
    assert "with 1 runs of this build" in capsys.readouterr().out
    assert git("tag") == "", "the clone, which may be read only, was changed"
    client, [old, new], _ = runs_in(own_store)
    assert "report" not in {item.path for item in client.list_artifacts(old.info.run_id)}
    text = Path(client.download_artifacts(new.info.run_id, "report/report.md")).read_text()
    assert "> Question 2" in text and f"`{first}`" in text and "-47.37 %" in text
    assert client.list_artifacts(new.info.run_id, "report")[0].path == "report/report.html"

    client.set_tag(old.info.run_id, "commit", "0" * 40)  # this clone has no such commit
    assert main([]) == 0
    text = Path(client.download_artifacts(new.info.run_id, "report/report.md")).read_text()
    assert "wine-v1 ran before, and is not compared here: there is no tag wine-v1" in text


def test_outside_of_a_build_a_tag_must_be_named(lab_folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("DRONE_TAG", raising=False)
    with pytest.raises(SystemExit, match="3"):
        main([])
    assert "lab report svm-search-v1" in capsys.readouterr().err


@pytest.mark.parametrize(("url", "address"), [
    ("https://ann:secret@git.example/a.git", "https://git.example/a.git"),
    ("https://git.example/a.git", "https://git.example/a.git"),
    ("git@git.example:team/a.git", "git@git.example:team/a.git"),
    ("ssh://git@git.example:22/a.git", "ssh://git@git.example:22/a.git"),
    (".lab/origin.git", ""), ("file:///home/ann/lab", "")])
def test_the_address_to_clone_from_has_no_password(git, lab_folder, url: str, address: str) -> None:
    git("remote", "add", "origin", url)
    assert clone_address(lab_folder) == address
    run_git("remote", "remove", "origin", cwd=lab_folder)
    assert clone_address(lab_folder) == ""
