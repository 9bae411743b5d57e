import signal
import subprocess
import sys
import time
import uuid

import pytest

from taglab.testing import environment, run_python, runs_in
from taglab.search import SearchError
from taglab.search.journal import Journal, TrialRecord
from taglab.search.plan import Plan
from tests.runner.conftest import SOURCE, Lab
from taglab.tracking.command import main


@pytest.fixture
def state(own_store):
    """Return a folder for the state of searches."""
    return own_store / "state"


INTERRUPTED = """
import os, sys, time
from taglab.search import search
from taglab.tracking import start_run
def train(x):
    with open("attempts", "a") as file:
        file.write(f"{x}\\n")
    if "slow" in os.environ and x >= 4:
        time.sleep(60)
    return x * x
with start_run("quick/main.py", {}):
    found = search(train, {"x": list(range(8))}, direction="maximize", method="grid",
                   workers=2)
    print(found.trials["value"].tolist())
"""


def test_an_interrupted_search_resumes_with_the_missing_trials(own_store, state, capfd):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], cwd=own_store, stdout=subprocess.DEVNULL,
        env=environment(own_store, slow="1", LAB_STATE=str(state), DRONE_BUILD_NUMBER="1"),
        start_new_session=True)
    attempts = own_store / "attempts"
    while not attempts.exists() or len(attempts.read_text().split()) < 6:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert sorted(attempts.read_text().split()) == ["0", "1", "2", "3", "4", "5"]
    client, [parent], nested = runs_in(own_store)
    statuses = [run.info.status for run in nested]
    assert parent.info.status == "KILLED" and statuses.count("FINISHED") == 4
    assert set(statuses) == {"FINISHED", "KILLED"}, "no run seems to be running"
    assert parent.data.params["search.direction"] == "['maximize']", "the table needs it"

    done = run_python("-c", INTERRUPTED, folder=own_store, LAB_STATE=state, DRONE_BUILD_NUMBER="2")
    assert "[0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0]" in done.stdout, done.stderr
    assert sorted(attempts.read_text().split()[6:]) == ["4", "5", "6", "7"]
    client, parents, nested = runs_in(own_store)
    assert sorted(int(run.data.tags["trial"]) for run in nested) == list(range(8))
    assert {run.info.status for run in nested} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parents[-1].info.run_id}
    capfd.readouterr()
    assert main(["summary", "--build", "2"]) == 0
    table = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[2:7]] == ["7", "6", "5", "4", "3"]
    assert table[2].endswith("  best") and table[7:] == ["  … 3 more: 3 FINISHED"]
    assert main(["summary", "--build", "1"]) == 0
    _, stopped, more = capfd.readouterr().out.splitlines()
    assert stopped.split()[:2] == ["quick", "KILLED"] and "more runs were taken over" in more


def test_a_search_that_is_already_running_is_refused(own_store, state):
    holder = Journal(state / "searches" / "a", "one")
    with pytest.raises(SearchError, match="already running, .* or name this one"):
        Journal(state / "searches" / "a", "one")
    holder.close()
    Journal(state / "searches" / "a", "one").close()


def test_half_a_line_at_the_end_of_the_journal_is_dropped(state):
    journal = Journal(state, uuid.uuid4().hex)
    journal.add(TrialRecord(0, {"x": 1}, state="FINISHED", values=[2.0], reports={3: 0.5}))
    journal.close()
    with open(state / "trials.jsonl", "a") as file:
        file.write('{"number": 1, "poi')
    again = Journal(state, uuid.uuid4().hex)
    assert list(again.ended) == [0] and again.ended[0].reports == {3: 0.5}
    assert again.identity == journal.identity
    again.add(TrialRecord(1, {"x": 2}))
    again.close()
    assert list(Journal(state, uuid.uuid4().hex).ended) == [0, 1]


KILLED = """
import os, signal, sys
from helper import factor
from taglab.search import search
from taglab.tracking import start_run
def train(x):
    with open(os.environ["attempts"], "a") as file:
        file.write(f"{x}\\n")
    if os.environ["kill"] == "trial" and x == 78:  # the fourth
        os.kill(int(os.environ["PARENT"]), signal.SIGKILL)
        signal.pause()
    return x * factor()
os.environ["PARENT"] = str(os.getpid())
trials = int(os.environ["trials"])
with start_run("quick/main.py", {"trials": trials}):
    found = search(train, {"x": [*range(100)]}, method="random", direction="maximize", seed=0,
                   trials=trials, skip_finished="skip" in os.environ)
    if os.environ["kill"] == "end":
        os.kill(os.getpid(), signal.SIGKILL)
    print(found.trials["x"].tolist(), found.trials["value"].tolist())
"""


@pytest.fixture
def run(own_store, state):
    """Return a function that runs KILLED in a lab of its own; it returns what it tried."""
    lab = Lab(own_store / "lab")
    (lab.path / "vendor").mkdir(parents=True)
    (lab.path / "vendor" / "taglab").symlink_to(SOURCE / "taglab")
    lab.write(".gitignore", "__pycache__/\nvendor/\n")
    lab.write("helper.py", "def factor():\n    return 1\n")
    lab.write("main.py", KILLED)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "First"]):
        lab.git(*command)

    def run(kill="", trials=6, **more):
        attempts = own_store / "attempts"
        attempts.write_text("")
        done = subprocess.run(
            [sys.executable, "main.py"], cwd=lab.path, capture_output=True, text=True,
            env=environment(own_store, LAB_STATE=str(state), LAB_ROOT=str(lab.path), kill=kill,
                            trials=str(trials), attempts=str(attempts), **more))
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
        return [int(each) for each in attempts.read_text().split()], done.stdout.splitlines()[-1:]

    return run


def expected(trials, factor=1):
    plan = Plan(lambda x: x, {"x": [*range(100)]}, "random", "maximize", None, trials, 1, 0, None,
                None)
    points = [point["x"] for point in plan.points]
    return points, [f"{points} {[float(factor * x) for x in points]}"]


def test_a_search_is_not_run_again_when_the_process_dies_before_its_run_has_ended(
        own_store, run, state):
    points, shown = expected(6)
    assert run("end")[0] == points
    assert run() == ([], shown)
    _, parents, nested = runs_in(own_store)
    assert [each.info.status for each in parents] == ["KILLED", "FINISHED"]
    assert {each.data.tags["mlflow.parentRunId"] for each in nested} == {parents[1].info.run_id}
    assert len(nested) == 6 and not list((state / "searches").iterdir())
    assert run() == (points, shown), "a search that has finished is run again"


def test_a_killed_search_leaves_no_run_running_and_goes_on_with_more_trials(own_store, run):
    points, shown = expected(9)
    assert run("trial")[0] == points[:4]
    assert {each.info.status for each in runs_in(own_store)[1]} == {"RUNNING"}
    assert run(trials=9) == (points[3:], shown)
    _, parents, nested = runs_in(own_store)
    assert [each.info.status for each in parents] == ["KILLED", "FINISHED"]
    assert {each.info.status for each in nested} == {"FINISHED"} and len(nested) == 9


def test_uncommitted_changes_make_another_search_of_which_nothing_is_taken_over(
        own_store, run):
    points, _ = expected(6)
    assert run("trial")[0] == points[:4]
    helper = own_store / "lab" / "helper.py"
    helper.write_text(helper.read_text().replace("1", "2"))
    assert run(skip="1") == (points, expected(6, factor=2)[1])
    statuses = [each.info.status for each in runs_in(own_store)[2]]
    assert statuses.count("FINISHED") >= 6 and "RUNNING" not in statuses
    assert run(skip="1")[0] == [], "the same code"
    Lab(own_store / "lab").git("commit", "-qam", "Another factor")
    assert run(skip="1")[0] == points, "another commit"
