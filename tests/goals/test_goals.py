import json

import mlflow
import pytest

from taglab.goals import Goal, GoalsError, read_goals, verdicts
from taglab.goals.judge import main
from taglab.testing import run_python
from taglab.tracking import start_run

GOALS = '[[goal]]\nprocess = "svm_search"\nmetric = "test_accuracy"\nat_least = 0.98\n'


def log(process: str, **metrics: float) -> str:
    with start_run(f"{process}/main.py", {}) as run:
        mlflow.log_metrics(metrics)
        with mlflow.start_run(nested=True):
            mlflow.log_metrics({name: 1.0 for name in metrics})
    return run.info.run_id


def test_goals_are_judged_by_the_newest_finished_run_of_their_process(own_store, monkeypatch):
    reach, stay = Goal("wine", "accuracy", 0.9, True), Goal("wine", "loss", 0.5, False)
    assert [verdict.met for verdict in verdicts([reach])] == [None]
    log("wine", accuracy=0.99, loss=0.1)
    newest = log("wine", accuracy=0.875, loss=float("nan"))
    with pytest.raises(ZeroDivisionError), start_run("wine/main.py", {}):
        mlflow.log_metrics({"accuracy": 1.0, "loss": 0.0})
        1 / 0
    low, high = verdicts([reach, stay])
    assert low.met is False and high.met is False
    assert newest in low.reason and "0.025 less than the goal" in low.reason

    monkeypatch.setenv("DRONE_BUILD_NUMBER", "7")
    log("wine", accuracy=0.9, loss=0.5)
    monkeypatch.delenv("DRONE_BUILD_NUMBER")
    log("wine", accuracy=0.1, loss=0.9)
    assert [verdict.met for verdict in verdicts([reach, stay], build="7")] == [True, True]
    assert [verdict.met for verdict in verdicts([reach, stay], build="8")] == [None, None]
    [other, absent] = verdicts([Goal("beer", "accuracy", 0.9, True),
                                Goal("wine", "recall", 0.9, True)])
    assert other.met is None and "git push origin beer-v1" in other.reason
    assert absent.met is False and "it has accuracy, loss" in absent.reason


def test_without_runs_the_command_fails_and_names_the_tag_to_push(tmp_path, lab_folder):
    (lab_folder / "goals").mkdir()
    (lab_folder / "goals" / "goals.toml").write_text(GOALS)
    done = run_python("-m", "taglab.goals", folder=tmp_path)
    assert done.returncode == 1
    assert "git tag svm-search-v1 && git push origin svm-search-v1" in done.stdout
    assert not list(tmp_path.iterdir()), "looking for runs created a store"


def test_a_build_is_judged_by_the_goals_of_what_ran_in_it(
        own_store, lab_folder, monkeypatch, capsys):
    (lab_folder / "goals").mkdir()
    (lab_folder / "goals" / "goals.toml").write_text(GOALS + GOALS.replace("svm_search", "wine"))

    def judge_build(number: str, **processes: float) -> tuple[int, str]:
        monkeypatch.setenv("DRONE_BUILD_NUMBER", number)
        for process, value in processes.items():
            log(process, test_accuracy=value)
        return main(), capsys.readouterr().out

    assert judge_build("1", svm_search=0.99)[0] == 0
    status, shown = judge_build("2", svm_search=0.9)
    assert status == 1 and "MISSED  svm_search" in shown and "wine" not in shown
    status, shown = judge_build("3", wine=0.99, svm_search=0.9)
    assert status == 1 and "met     wine" in shown and "MISSED  svm_search" in shown
    assert judge_build("4", beer=0.1) == (0, "no goal is set for beer\n")
    status, shown = judge_build("5")  # the process left no run: that is no success
    assert status == 1 and shown.count("NO RUN") == 2


def test_runs_that_a_build_took_for_its_own_are_judged_unless_it_has_newer_ones(
        own_store, lab_folder, monkeypatch, capsys):
    (lab_folder / "goals").mkdir()
    (lab_folder / "goals" / "goals.toml").write_text(GOALS + GOALS.replace("svm_search", "wine"))
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "1")
    for process, value in (("svm_search", 0.9), ("wine", 0.99)):
        run_id = log(process, test_accuracy=value)
        mlflow.MlflowClient().set_tag(run_id, "reused.2", "true")
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "2")
    assert main(["--json"]) == 1
    missed, met = json.loads(capsys.readouterr().out)
    assert (missed["met"], met["met"], met["goal"]["process"]) == (False, True, "wine")
    log("svm_search", test_accuracy=0.98)
    assert main() == 0
    monkeypatch.setenv("DRONE_BUILD_NUMBER", "3")
    assert main() == 1 and "NO RUN" in capsys.readouterr().out


@pytest.mark.parametrize("text, message", [
    ("", "must hold"),
    ("goal = 1", "must hold"),
    ("other = 1\n[[goal]]\nprocess = 'a'\nmetric = 'b'\nat_least = 1", "nothing else"),
    ("[[goal]]\nprocess = 'a'\nmetric = 'b'", "at_least or at_most"),
    ("[[goal]]\nprocess = 'a'\nmetric = 'b'\nat_least = 1\nat_most = 2", "either at_least"),
    ("[[goal]]\nprocess = 'a'\nmetric = 'b'\nat_last = 1", "unknown key 'at_last'"),
    ("[[goal]]\nprocess = 'a'\nmetric = 'b'\nat_least = '1'", "at_least must not be '1'"),
    ("[[goal]]\nprocess = 'a'\nmetric = 'b'\nat_least = true", "at_least must not be True"),
    ("[[goal]]\nmetric = 'b'\nat_least = 1", "needs process and metric"),
    ("[[goal", "cannot read"),
])
def test_a_mistake_in_the_file_is_named(tmp_path, text, message):
    (tmp_path / "goals.toml").write_text(text)
    with pytest.raises(GoalsError, match=message):
        read_goals(tmp_path / "goals.toml")
