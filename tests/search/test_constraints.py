"""A trial that does not meet its constraints is never the best one."""

import random

import mlflow
import pytest
from optuna import samplers

from taglab.search import SearchError, SearchFailed, search
from taglab.search.journal import TrialRecord
from taglab.search.messages import FINISHED, Outcome
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess
from taglab.search.queue import TrialQueue
from taglab.search.result import best_trials, table
from taglab.search.worker import Trial
from taglab.testing import runs_in
from taglab.tracking import start_run
from taglab.tracking.trials import rank

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SPACE = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
SAMPLERS = {
    "tpe": {"method": "tpe"},
    "nsga": {"sampler": samplers.NSGAIISampler(seed=1, population_size=4)},
    "fixed": {"sampler": samplers.PartialFixedSampler({}, samplers.TPESampler(
        seed=1, n_startup_trials=4))}}


def train(x, y, trial):
    raise AssertionError("these tests work out the outcomes themselves")


def plan_of(*, method="tpe", sampler=None, metric=None, direction="maximize", **more):
    return Plan(train, SPACE, method, direction, metric, 40, 1, 1, sampler, None, **more)


def run_trials(plan, queue, ended, stop_after=40, limit=0.5):
    """Run a search's trials: more of x is better, but x must not be above the limit."""
    queue.fill(plan.trials, ended)
    while len(ended) < stop_after and (record := queue.ask()):
        x = record.point["x"]
        record.end(Outcome(FINISHED, [x] * len(plan.directions), constraints={"size": x - limit}))
        queue.tell(record)
        ended[record.number] = TrialRecord.from_json(record.to_json())
    return [record for _, record in sorted(ended.items())]


def alone(plan, ended=None, **more):
    return run_trials(plan, TrialQueue(plan, SearchProcess(), "search"), ended or {}, **more)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_best_trial_meets_its_constraints_and_samplers_learn_to(name, asynchronous):
    plan = plan_of(**SAMPLERS[name], asynchronous=asynchronous)
    records = alone(plan)
    [best] = best_trials(plan, records)
    assert best.values == [max(each.point["x"] for each in records if each.point["x"] <= 0.5)]
    assert max(each.point["x"] for each in records) > 0.5
    free = alone(plan, limit=2)
    assert best_trials(plan, free)[0].values == [max(each.point["x"] for each in free)]

    def misses(trials):
        return sum(each.point["x"] > 0.5 for each in trials[8:])

    assert [each.point for each in records] != [each.point for each in free], "it is told"
    assert misses(records) < misses(free) or name == "nsga", "it avoids what does not meet them"


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_with_constraints_resumes_to_the_same_points(name):
    plan = plan_of(**SAMPLERS[name])
    before = {each.number: each for each in alone(plan, stop_after=11)}
    again = alone(plan, ended=before)
    assert [(each.point, each.constraints) for each in again] == [
        (each.point, each.constraints) for each in alone(plan)]


def test_several_processes_know_the_constraints_of_one_another(tmp_path):
    plan, ended = plan_of(**SAMPLERS["nsga"]), {}
    queues = [TrialQueue(plan, SearchProcess(index, 2, f"sqlite:///{tmp_path}/optuna.db"), "search")
              for index in range(2)]
    chance = random.Random(0)
    queues[0].fill(plan.trials, {})
    while len(ended) < plan.trials:
        run_trials(plan, chance.choice(queues), ended, stop_after=len(ended) + 1)
    assert [each.point for _, each in sorted(ended.items())] == [
        each.point for each in alone(plan)]


def test_a_front_of_several_metrics_holds_trials_that_meet_their_constraints():
    plan = plan_of(metric=["a", "b"], direction=["maximize", "minimize"])
    records = alone(plan)
    front = best_trials(plan, records)
    assert front and all(each.point["x"] <= 0.5 for each in front)
    assert table(plan, records)["feasible"].tolist() == [each.point["x"] <= 0.5 for each in records]
    assert "feasible" not in table(plan, [TrialRecord(0, {"x": 1.0, "y": 0.0})])


def test_a_sampler_with_a_constraints_func_is_refused_with_what_to_call():
    for sampler in (samplers.TPESampler, samplers.NSGAIISampler, samplers.NSGAIIISampler,
                    samplers.GPSampler):
        with pytest.warns(FutureWarning):
            given = sampler(seed=1, constraints_func=lambda trial: [1.0])
        with pytest.raises(SearchError, match=r'constraints_func, .* trial.set_constraint\("name"'):
            plan_of(sampler=given)
        with pytest.raises(SearchError, match="has a constraints_func"):
            plan_of(sampler=samplers.PartialFixedSampler({}, given))


def test_a_constraint_is_a_number_and_its_last_value_counts(tmp_path):
    trial = Trial(0, tmp_path, None)
    for value in (3, -1):
        trial.set_constraint("size", value)
    assert trial.constraints == {"size": -1.0} and Trial(1, tmp_path, None).constraints == {}
    with pytest.raises(ValueError, match="the constraint 'size' is nan; it must be a number"):
        trial.set_constraint("size", float("nan"))


@pytest.mark.parametrize("method", ["grid", "evolution"])
def test_a_search_gives_the_best_trial_that_meets_its_constraints(own_store, monkeypatch, method):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    asked = own_store / "asked"

    def size(x, trial):
        with open(asked, "a") as file:
            file.write("x")
        trial.set_constraint("size", x - 3)
        return x

    space = {"x": [1, 2, 3, 4, 5]} if method == "grid" else {"x": (0.0, 10.0)}
    trials = None if method == "grid" else 12
    for _ in range(2):
        with start_run("quick/main.py", {}):
            found = search(size, space, direction="maximize", method=method, trials=trials,
                           seed=0, skip_finished=True)
        allowed = found.trials[found.trials["x"] <= 3]
        assert found.best_value == allowed["x"].max() < found.trials["x"].max()
        assert found.trials["feasible"].tolist() == (found.trials["x"] <= 3).tolist()
    assert len(asked.read_text()) == len(found.trials), "taken over with their constraints"
    client, parents, nested = runs_in(own_store)
    [marked] = rank(parents[0], [run for run in nested if run.data.tags["mlflow.parentRunId"]
                                 == parents[0].info.run_id]).best
    assert client.get_run(marked).data.metrics["value"] == found.best_value


def test_a_search_none_of_whose_trials_meets_its_constraints_says_which_came_nearest(
    own_store, monkeypatch
):
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))

    def size(x, trial):
        trial.set_constraint("size", x)
        trial.set_constraint("time", -1)
        return x

    with pytest.raises(SearchFailed, match="constraints, .* trial 1 came nearest, with size=2, "
                                           "time=-1$"), start_run("quick/main.py", {}):
        search(size, {"x": [5, 2, 9]}, direction="maximize", method="grid")
    assert mlflow.active_run() is None
