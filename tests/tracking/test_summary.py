"""The table of runs: the order of trials, what is marked and counted, and its width."""

import time

import pytest
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from taglab.tracking.summary import PARENT, WIDTH, age, table
from taglab.tracking.trials import rank


def a_run(name: str, status: str = "FINISHED", tags: dict[str, str] | None = None,
          params: dict[str, str] | None = None, **metrics: float) -> Run:
    """Return a run, without a store; one whose name begins with a digit is a trial."""
    now = int(time.time() * 1000)
    tags = dict(tags or {}) | ({"trial": name.split()[0]} if name[0].isdigit() else {})
    return Run(
        RunInfo(name, "1", "ann", status, now - 5_400_000, now - 5_398_000, "active",
                run_name=name),
        RunData([Metric(each, value, now, 0) for each, value in metrics.items()],
                [Param(*each) for each in (params or {}).items()],
                [RunTag(*each) for each in tags.items()]))


def a_search(directions: list[str], metrics: list[str], **tags: str) -> Run:
    """Return the run of a search."""
    return a_run("svm", tags=tags, test_accuracy=0.99, params={
        "search.direction": str(directions), "search.metric": str(metrics)})


@pytest.mark.parametrize("direction, order", [
    ("maximize", ["2", "3", "1", "0", "4", "5"]), ("minimize", ["0", "1", "2", "3", "4", "5"])])
def test_the_trials_of_a_search_come_best_first(direction, order):
    values = [0.1, 0.5, 0.9, 0.9]
    trials = [a_run(str(number), accuracy=value) for number, value in enumerate(values)]
    trials += [a_run("4", "FAILED"), a_run("5", "KILLED", accuracy=1.0)]
    found = rank(a_search([direction], ["accuracy"]), trials[::-1][2:] + trials[4:])
    assert [run.info.run_id for run in found.runs] == order and found.best == {order[0]}
    assert rank(a_search([direction], []), trials).best == found.best, "the only metric"
    assert rank(a_run("wine"), trials).runs == trials and not rank(None, trials).best


def test_with_several_metrics_the_pareto_front_is_marked_and_first():
    trials = [a_run(str(number), accuracy=accuracy, seconds=seconds) for number, (accuracy, seconds)
              in enumerate([(0.5, 3.0), (0.9, 2.0), (0.8, 1.0), (0.7, 1.0)])]
    found = rank(a_search(["maximize", "minimize"], ["accuracy", "seconds"]), trials)
    assert [run.info.run_id for run in found.runs] == ["1", "2", "3", "0"]
    assert found.best == {"1", "2"}


def test_the_table_marks_the_best_trial_counts_the_rest_and_fits():
    search = a_search(["maximize"], ["accuracy"], asynchronous="true", tag="svm-search-v12",
                      build="12")
    nested = {PARENT: "svm"}
    trials = [a_run(f"{number} gamma=0.00125 C=13.98", tags=nested, accuracy=number / 10,
                    loss_of_validation=0.123456) for number in range(9)]
    trials.append(a_run("9 gamma=1", "FAILED", tags=nested))
    shown = table([search, *trials], with_origin=True).splitlines()
    assert shown[0].split() == ["run", "tag", "build", "age", "status", "time", "metrics"]
    assert shown[1].split() == ["svm", "svm-search-v12", "12", "1", "h", "FINISHED", "2.0", "s",
                                "test_accuracy", "0.99"]
    assert "may differ when it is run again" in shown[2]
    assert [line.split()[0] for line in shown[3:8]] == ["8", "7", "6", "5", "4"]
    assert shown[3].endswith("  best") and not any("best" in line for line in shown[4:])
    assert shown[8:] == ["  … 5 more: 4 FINISHED, 1 FAILED"]
    wide = a_run("wine", tags={"tag": "run-examples-v1", "build": "3"}, test_accuracy=0.987654,
                 **{"test_" + "loss" * 12: 0.1})
    assert max(map(len, [*shown, *table([search, wide], True).splitlines()])) <= WIDTH
    assert "may differ" not in table([wide])


@pytest.mark.parametrize("seconds, told", [
    (0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")])
def test_the_age_of_a_run_is_in_one_unit(seconds, told):
    run = a_run("wine")
    run.info._start_time = time.time() * 1000 - seconds * 1000 - 100
    assert age(run) == told
