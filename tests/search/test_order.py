import random
import signal
import subprocess
import sys
import time

import mlflow
import optuna
import pytest

import taglab.search.queue
from taglab.search import search
from taglab.search.journal import TrialRecord
from taglab.search.messages import FAILED, FINISHED, PRUNED, Outcome, Report
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess, order_note
from taglab.search.queue import TrialQueue
from taglab.testing import environment, run_python, runs_in
from taglab.tracking import start_run

SPACE = {"x": (0.0, 1.0), "y": (1, 9), "kind": ["a", "b"]}
SAMPLERS = [
    {"method": "tpe"}, {"method": "cmaes"}, {"sampler": optuna.samplers.TPESampler(seed=5)},
    {"method": "tpe", "metric": ["a", "b"], "direction": ["minimize", "maximize"]}]
PRUNERS = [
    {"method": "asha"}, {"method": "hyperband"}, {"method": "median"},
    {"method": "tpe", "pruner": optuna.pruners.HyperbandPruner(max_resource=8)},
    {"method": "tpe", "pruner": optuna.pruners.SuccessiveHalvingPruner()}]


def train(x, y, kind, trial):
    raise AssertionError("the tests of the order work out the outcomes themselves")


def plan_of(*, method="tpe", direction="minimize", metric=None, sampler=None, pruner=None,
            trials=30, workers=1, **more):
    return Plan(train, SPACE, method, direction, metric, trials, workers, 3, sampler, pruner,
                **more)


def outcome_of(plan, number, point):
    """Return what a trial comes to: a function of its point."""
    if number % 11 == 5:
        return Outcome(FAILED, error="ArithmeticError: no root")
    value = (point["x"] - 0.3) ** 2 + point["y"] / 10 + (point["kind"] == "a")
    return Outcome(FINISHED, [value, point["y"]][:len(plan.directions)])


def simulated(plan, chance, processes=(SearchProcess(),), running_at_once=4, stop_after=None,
              ended=None):
    """Run a search's trials without workers, interleaved by chance; return what has ended.

    stop_after: how many trials have to end before the search is killed.
    """
    queues = [TrialQueue(plan, process, "search") for process in processes]
    ended, running = dict(ended or {}), []
    for queue in queues:
        queue.fill(plan.trials, ended)
    while len(ended) < (stop_after or plan.trials):
        queue = chance.choice(queues)
        if len(running) < running_at_once and (record := queue.ask()):
            running.append((queue, record))
        elif running:
            queue, record = chance.choice(running)
            value, step = record.point["x"] * (len(record.reports) + 1), len(record.reports) + 1
            outcome = outcome_of(plan, record.number, record.point)
            if plan.pruner and step <= 8:
                if not queue.report(record, Report(value, step)):
                    continue
                outcome = Outcome(PRUNED, [value])
            record.end(outcome)
            queue.tell(record)
            running.remove((queue, record))
            assert record.number not in ended, "no trial runs twice"
            ended[record.number] = record
    return ended


def told(ended: dict[int, TrialRecord]):
    """Return the points and the outcomes by trial."""
    return [(number, record.point, record.state, record.values, record.reports)
            for number, record in sorted(ended.items())]


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Return two processes that share a database."""
    monkeypatch.setattr(taglab.search.queue, "POLL", 0)
    return [SearchProcess(index, 2, f"sqlite:///{tmp_path}/optuna.db") for index in range(2)]


@pytest.fixture
def state(own_store, monkeypatch):
    """Keep the state of searches in the test's own folder."""
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))


@pytest.mark.parametrize("more", SAMPLERS + PRUNERS)
def test_the_points_and_what_is_pruned_do_not_depend_on_which_trial_ends_first(more):
    plan = plan_of(**more)
    one_by_one = told(simulated(plan, random.Random(0), running_at_once=1))
    states = {state for _, _, state, _, _ in one_by_one}
    assert states == {FINISHED, FAILED} | ({PRUNED} if plan.pruner else set())
    for seed in range(3):
        assert told(simulated(plan, random.Random(seed))) == one_by_one


@pytest.mark.parametrize("more", [SAMPLERS[0], SAMPLERS[1], PRUNERS[0]])
def test_an_asynchronous_search_learns_from_whichever_trial_ends_first(more):
    found = [told(simulated(plan_of(**more, asynchronous=True), random.Random(seed)))
             for seed in range(3)]
    assert found[0] != found[1] or found[0] != found[2]


@pytest.mark.parametrize("more", SAMPLERS + PRUNERS)
@pytest.mark.parametrize("stop_after", [3, 20])
def test_a_resumed_search_goes_on_as_if_it_had_not_been_interrupted(more, stop_after):
    plan = plan_of(**more)
    before = simulated(plan, random.Random(1), stop_after=stop_after)
    read = {number: TrialRecord.from_json(record.to_json()) for number, record in before.items()}
    resumed = simulated(plan, random.Random(2), ended=read)
    assert told(resumed) == told(simulated(plan, random.Random(3)))


@pytest.mark.parametrize("more", [{"sampler": optuna.samplers.TPESampler(
    n_startup_trials=2, seed=1), "pruner": optuna.pruners.SuccessiveHalvingPruner()}, SAMPLERS[1]])
def test_processes_that_share_a_search_choose_the_points_of_a_single_one(shared, more):
    plan = plan_of(**more, trials=9)
    together = simulated(plan, random.Random(1), shared)
    assert told(together) == told(simulated(plan, random.Random(2)))


def test_a_trial_that_is_lost_twice_counts_as_failed_and_holds_up_no_other(shared):
    plan = plan_of()
    queue = TrialQueue(plan, shared[0], "search")
    queue.fill(10, {})
    for _ in range(2):
        lost = queue.ask()
        assert lost.number == 0
        stale = queue._study.get_trials(states=[optuna.trial.TrialState.RUNNING])[0]
        queue._storage.set_trial_state_values(stale._trial_id, optuna.trial.TrialState.FAIL)
        queue._storage.get_heartbeat_stale_trial_callback()(queue._study, stale)
    assert [queue.ask().number for _ in range(4)] == [1, 2, 3, 4]
    assert queue.ask() is None and queue.must_wait


def test_larger_numbers_of_trials_begin_with_the_points_of_smaller_ones():
    few, many = (told(simulated(plan_of(trials=trials), random.Random(0))) for trials in (12, 20))
    assert many[:12] == few


KILLED = """
import random, sys, time
from taglab.search import search
from taglab.tracking import start_run
def train(x, y):
    with open("attempts", "a") as file:
        file.write(f"{x} {y}\\n")
    time.sleep(random.SystemRandom().uniform(0, 0.05))
    return (x - 0.3) ** 2 + y
with start_run("quick/main.py", {}):
    found = search(train, {"x": (0.0, 1.0), "y": [0, 1]}, direction="minimize", trials=24, seed=3,
                   workers=int(sys.argv[1]))
    print("points", found.trials[["x", "y"]].values.tolist())
"""


def test_a_killed_search_resumes_with_other_workers_to_the_same_points(own_store, state):
    plan = Plan(lambda x, y: 0, {"x": (0.0, 1.0), "y": [0, 1]}, "tpe", "minimize", None, 24, 1, 3,
                None, None)
    queue, points = TrialQueue(plan, SearchProcess(), "whole"), []
    queue.fill(24, {})
    while record := queue.ask():
        points.append([record.point["x"], float(record.point["y"])])
        record.end(Outcome(FINISHED, [(points[-1][0] - 0.3) ** 2 + points[-1][1]]))
        queue.tell(record)

    attempts = own_store / "attempts"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, "2"], cwd=own_store, stdout=subprocess.DEVNULL,
        env=environment(own_store, LAB_STATE=str(own_store / "state")), start_new_session=True)
    while not attempts.exists() or len(attempts.read_text().splitlines()) < 14:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = run_python("-c", KILLED, "3", folder=own_store, LAB_STATE=own_store / "state")
    assert f"points {points}" in again.stdout, again.stdout + again.stderr
    tried = attempts.read_text().splitlines()
    assert len(set(tried)) == 24 and len(tried) <= 26, "only the interrupted trials run again"


@pytest.mark.parametrize("more", [
    {"sampler": optuna.samplers.TPESampler(n_startup_trials=2, seed=1),
     "pruner": optuna.pruners.MedianPruner(n_startup_trials=1)}, {"method": "evolution"}])
def test_a_search_with_more_workers_finds_the_same(state, more):
    def train(x, y, trial):
        for step in range(1, 5):
            time.sleep(random.SystemRandom().uniform(0, 0.01))
            trial.report((x - 0.3) ** 2 + y / step, step)
        return (x - 0.3) ** 2 + y

    found = []
    for workers in (1, 2, 4):
        with start_run("quick/main.py", {}):
            found.append(search(train, {"x": (0.0, 1.0), "y": (0.0, 1.0)}, direction="minimize",
                                trials=12, workers=workers, seed=0, **more))
    assert found[0].trials.equals(found[1].trials) and found[0].trials.equals(found[2].trials)
    assert found[0].best_params == found[1].best_params == found[2].best_params


def test_an_asynchronous_search_says_so_in_its_run_and_its_output(own_store, state):
    for asynchronous in (True, False):
        with start_run("quick/main.py", {}):
            search(lambda x: x, {"x": (0.0, 1.0)}, direction="minimize", trials=2,
                   asynchronous=asynchronous)
    _, parents, _ = runs_in(own_store)
    assert [run.data.tags.get("asynchronous") for run in parents] == ["true", None]
    logs = [mlflow.artifacts.load_text(f"{run.info.artifact_uri}/output.log") for run in parents]
    assert ["may choose other points when it runs again" in log for log in logs] == [True, False]


def test_workers_of_several_processes_that_have_to_wait_are_named_with_two_ways_out():
    three = SearchProcess(0, 3, "sqlite://")
    note = order_note(plan_of(workers=2), three)
    assert "only 4 of 6 workers run at once" in note
    assert "max_concurrent=6)" in note and "asynchronous=True)" in note
    assert order_note(plan_of(workers=2, max_concurrent=6), three) == ""
    assert order_note(plan_of(method="random", workers=2), three) == ""
    assert order_note(plan_of(workers=4), SearchProcess()) == ""
