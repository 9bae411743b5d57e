import signal

import optuna
import pytest

import taglab.search.start
from taglab.search import SearchError, search
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess, this_process
from taglab.search.queue import TrialQueue
from taglab.testing import runs_in
from taglab.tracking import start_run

SECOND_OF_THREE = {"JOB_COMPLETION_INDEX": "1", "JOB_COMPLETIONS": "3"}


def plan_of(method):
    return Plan(lambda a: a, {"a": [1, 2]}, method, "minimize", None, None, 1, 0, None, None)


@pytest.mark.parametrize("storage, shown", [
    ("sqlite:////lab/optuna.db", "sqlite://…"),
    ("sqlite://", "sqlite://…"),
    ("SQLite:///optuna.db", "SQLite://…"),
    ("mysql+pymysql://lab:secret@host/lab", r"mysql\+pymysql://…"),
    ("redis://:secret@host", "redis://…"),
    ("postgres://lab:secret@host/lab", "postgres://…"),  # SQLAlchemy does not know the name
    ("secret.journal", "…://…"),
])
@pytest.mark.parametrize("method", ["tpe", "grid"])
def test_a_storage_that_cannot_be_shared_is_refused_without_its_password(storage, shown, method):
    with pytest.raises(SearchError, match=f"LAB_SEARCH_STORAGE is {shown}, but .* postgresql") as (
            refused):
        this_process(plan_of(method), SECOND_OF_THREE | {"LAB_SEARCH_STORAGE": storage})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("storage", [
    "postgresql://lab:secret@host/lab", "postgresql+psycopg2://lab:secret@host/lab",
    "postgresql+psycopg://host:5432/lab?sslmode=require"])
def test_processes_share_a_search_in_postgresql(storage):
    found = this_process(plan_of("tpe"), SECOND_OF_THREE | {"LAB_SEARCH_STORAGE": storage})
    assert found == SearchProcess(1, 3, storage)


def test_a_single_process_needs_no_storage_and_points_that_are_known_need_none():
    assert this_process(plan_of("tpe"), {"LAB_SEARCH_STORAGE": "sqlite://"}) == SearchProcess()
    assert this_process(plan_of("grid"), SECOND_OF_THREE) == SearchProcess(1, 3)
    with pytest.raises(SearchError, match="set LAB_SEARCH_STORAGE to the address"):
        this_process(plan_of("tpe"), SECOND_OF_THREE)


def lose(queue):
    """Let the process die that runs the next trial; return the trial."""
    lost = queue.ask()
    [stale] = queue._study.get_trials(states=[optuna.trial.TrialState.RUNNING])
    queue._storage.set_trial_state_values(stale._trial_id, optuna.trial.TrialState.FAIL)
    queue._storage.get_heartbeat_stale_trial_callback()(queue._study, stale)
    queue._trials.clear()
    return lost


@pytest.mark.parametrize("more", [
    {"method": "random"}, {"method": "tpe"}, {"method": "tpe", "asynchronous": True}])
def test_a_trial_is_lost_for_good_when_the_second_process_dies(tmp_path, more):
    plan = Plan(lambda x: x, {"x": (0.0, 1.0)}, direction="minimize", metric=None, trials=3,
                workers=1, seed=0, sampler=None, pruner=None, **more)
    queue = TrialQueue(plan, SearchProcess(0, 2, f"sqlite:///{tmp_path}/optuna.db"), "search")
    queue.fill(3, {})
    first = lose(queue)
    assert queue.lost_twice() == []
    if plan.ordered:
        second = lose(queue)
        assert second.number == first.number == 0 and second.point == first.point
        assert [(each.number, each.point, each.attempts) for each in queue.lost_twice()] == [
            (0, first.point, 2)]
        return
    lost = [first, *(lose(queue) for _ in range(3))]  # the others first, once each
    numbers = [each.number for each in lost]
    for record in queue.lost_twice():
        assert numbers.count(record.number) == 2
        assert record.point == lost[len(numbers) - 1 - numbers[::-1].index(record.number)].point
    assert len(queue.lost_twice()) == 4 - len(set(numbers)) == 1


def test_process_0_goes_on_without_a_trial_that_was_lost_twice(own_store, monkeypatch):
    fill = TrialQueue.fill

    def fill_and_lose(queue, trials, ended):
        fill(queue, trials, ended)
        for _ in range(2):
            assert lose(queue).number == 0

    monkeypatch.setattr(TrialQueue, "fill", fill_and_lose)
    monkeypatch.setattr(taglab.search.start, "this_process", lambda plan: SearchProcess(
        0, 2, f"sqlite:///{own_store}/optuna.db"))
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))

    def waited(*_):
        raise TimeoutError("process 0 still waits")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    try:
        with start_run("quick/main.py", {}):
            found = search(lambda x: x, {"x": (0.0, 1.0)}, direction="maximize", trials=3, seed=0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert found.trials["state"].tolist() == ["FAILED", "FINISHED", "FINISHED"]
    _, [parent], nested = runs_in(own_store)
    assert parent.info.status == "FINISHED" and parent.data.metrics["trials_failed"] == 1
    [lost] = [run for run in nested if run.info.status == "FAILED"]
    assert lost.data.tags["error"] == "two processes that ran this trial died"
    assert lost.data.tags["trial"] == "0" and len(nested) == 3
