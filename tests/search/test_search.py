import os
import signal
import threading
import time
from pathlib import Path

import mlflow
import optuna
import pandas as pd
import pytest

import taglab.search.worker
from taglab.testing import artifacts, runs_in
from taglab.tracking import start_run
from taglab.search import Pruned, SearchError, SearchFailed, search


@pytest.fixture(autouse=True)
def state(own_store, monkeypatch):
    """Keep the state of searches in the test's own folder."""
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    return own_store / "state"


def searched(*arguments, **more):
    """Return the result of a search in a run of its own."""
    with start_run("quick/main.py", {}):
        return search(*arguments, **{"direction": "maximize"} | more)


def by_number(nested):
    return {int(run.data.tags["trial"]): run for run in nested}


def test_each_trial_is_a_nested_run_with_its_parameters_metrics_and_log(own_store):
    def train(x, kind):
        print("trying", x)
        os.system("echo from a subprocess")
        return {"score": -(x - 2) ** 2, "seconds": 0.5}

    found = searched(train, {"x": [0, 2, 4], "kind": ["a", ("b", 1)]}, method="grid",
                     metric="score", workers=2, seed=3)
    client, [parent], nested = runs_in(own_store)
    assert found.best_params == {"x": 2, "kind": "a"} and found.best_value == 0
    assert (found.run_id, found.best_run_id) == (parent.info.run_id, nested[2].info.run_id)
    assert list(found.trials.columns) == ["number", "state", "value", "x", "kind"]
    assert found.trials["value"].tolist() == [-4, -4, 0, 0, -4, -4]
    assert found.trials["kind"].tolist() == ["a", ("b", 1)] * 3
    assert [run.data.params for run in nested] == [
        {"x": str(x), "kind": kind} for x in (0, 2, 4) for kind in ("a", "('b', 1)")]
    for number, run in enumerate(nested):
        assert run.info.status == "FINISHED" and run.data.metrics["seconds"] == 0.5
        assert run.data.tags["trial"] == str(number)
        assert run.data.tags["process"] == "quick" and "config_hash" in run.data.tags
        text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/output.log")
        assert text == f"trying {run.data.params['x']}\nfrom a subprocess\n"
    assert parent.data.params.items() >= {
        "search.method": "grid", "search.seed": "3", "search.trials": "6",
        "search.workers": "2", "search.best.x": "2", "search.best.kind": "a"}.items()
    assert parent.data.metrics == {"score": 0, "trials_finished": 6, "trials_failed": 0,
                                   "trials_pruned": 0}
    assert artifacts(client, parent) >= {"trials.csv", "history.png", "parallel_coordinates.png"}
    assert not list((own_store / "state/searches").iterdir()), "a finished search leaves no journal"


def test_a_failed_trial_keeps_its_traceback_and_the_search_continues(own_store):
    def train(x):
        if x == 1:
            raise ArithmeticError("no root")
        return float("nan") if x == 2 else -x

    found = searched(train, {"x": [1, 2, 3, 4]}, method="grid", workers=2)
    assert found.best_params == {"x": 3} and found.best_value == -3
    assert found.trials["state"].tolist() == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    client, [parent], nested = runs_in(own_store)
    assert [run.info.status for run in nested] == found.trials["state"].tolist()
    assert nested[0].data.tags["error"] == "ArithmeticError: no root"
    assert "train returned value=nan" in nested[1].data.tags["error"]
    text = mlflow.artifacts.load_text(f"{nested[0].info.artifact_uri}/traceback.txt")
    assert "in train" in text and "no root" in text
    assert parent.data.metrics["trials_failed"] == 2


def test_a_search_without_a_finished_trial_raises_the_first_traceback(own_store):
    def train(x):
        return [][x]

    with pytest.raises(SearchFailed, match="(?s)trial 0 .*IndexError: list index out of range"):
        searched(train, {"x": [1, 2]}, method="grid")
    _, [parent], nested = runs_in(own_store)
    assert [run.info.status for run in [parent, *nested]] == ["FAILED"] * 3


def test_the_trial_of_a_worker_that_died_is_tried_once_more(own_store, monkeypatch):
    def train(x):
        print("attempt")
        once = Path(f"died-{x}")
        if x == 1 or x == 2 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL if x == 2 else signal.SIGSEGV)
        return x

    monkeypatch.chdir(own_store)
    found = searched(train, {"x": [0, 1, 2, 3]}, method="grid", workers=2)
    assert found.trials["state"].tolist() == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    nested = by_number(runs_in(own_store)[2])
    assert len(nested) == 4 and nested[2].data.tags["attempts"] == "2"
    assert nested[1].data.tags["error"].endswith("died twice, of signal SIGSEGV")
    text = mlflow.artifacts.load_text(f"{nested[2].info.artifact_uri}/output.log")
    assert text == "attempt\nattempt\n"


def test_mlflow_calls_in_a_trial_log_to_its_run(own_store):
    def train(x):
        import mlflow
        for step in range(3):
            mlflow.log_metric("loss", x + step, step)
        return x

    searched(train, {"x": [5, 6, 7]}, method="grid")
    _, [parent], nested = runs_in(own_store)
    assert [run.data.metrics for run in nested] == [
        {"loss": x + 2, "value": x} for x in (5, 6, 7)]
    assert {run.info.status for run in nested} == {"FINISHED"}


@pytest.mark.parametrize("method", ["asha", "median", "hyperband"])
def test_trials_that_fall_behind_are_pruned(own_store, method):
    def train(quality, trial):
        (trial.folder / "model.txt").write_text(f"{trial.number}")
        for step in range(1, 9):
            trial.report(quality * step, step)
            time.sleep(0.001)
        return {"accuracy": quality * 8}

    found = searched(train, {"quality": (0.0, 1.0)}, method=method, metric="accuracy", trials=25,
                     workers=2, seed=0)
    states = found.trials["state"].value_counts()
    assert states["FINISHED"] + states["KILLED"] == 25 and states["KILLED"] >= 5
    assert found.best_params["quality"] > 0.8 and found.best_value <= 8
    client, [parent], nested = runs_in(own_store)
    [stopped, *_] = [run for run in nested if run.info.status == "KILLED"]
    assert stopped.data.tags["reason"].startswith("pruned after step ")
    assert artifacts(client, stopped) == {"model.txt"}
    history = client.get_metric_history(found.best_run_id, "accuracy")
    assert {point.step: point.value for point in history} == {
        step: pytest.approx(found.best_params["quality"] * step) for step in range(1, 9)}
    assert parent.data.metrics["trials_pruned"] == states["KILLED"]
    assert "learning_curves.png" in artifacts(client, parent)


def test_a_training_function_can_catch_pruned(own_store):
    def train(quality, trial):
        try:
            for step in range(1, 9):
                trial.report(quality * step, step)
        except Pruned as pruned:
            (trial.folder / "pruned.txt").write_text(str(pruned))
            raise
        return quality * 8

    assert Pruned is taglab.search.worker.Pruned
    found = searched(train, {"quality": [9, 8, 7, 1, 2, 3]}, method="grid",
                     pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    client, _, nested = runs_in(own_store)
    pruned = [run for run in nested if "pruned.txt" in artifacts(client, run)]
    assert pruned and pruned == [run for run in nested if run.info.status == "KILLED"]
    assert found.trials["state"].eq("KILLED").sum() == len(pruned)


def test_a_worker_has_not_imported_mlflow_or_numpy_when_it_is_forked(own_store):
    def train(x):
        import sys
        return int(not {"mlflow", "numpy", "optuna", "pandas"}.isdisjoint(sys.modules))

    assert searched(train, {"x": [1]}, method="grid").best_value == 0


def test_without_a_pruner_reports_stop_no_trial(own_store):
    def train(x, trial):
        for step in range(3):
            trial.report(-x, step)
        return -x

    found = searched(train, {"x": [*range(12)]}, method="grid")
    assert found.trials["state"].eq("FINISHED").all()


@pytest.mark.parametrize("more", [
    {"method": "tpe"}, {"method": "cmaes"}, {"method": "evolution"},
    {"sampler": optuna.samplers.TPESampler(seed=1, multivariate=False)}])
def test_an_adaptive_method_approaches_the_optimum(own_store, more):
    def train(x, y):
        return (x - 0.3) ** 2 + abs(y - 2)

    found = searched(train, {"x": (-1.0, 1.0), "y": (0, 4)}, direction="minimize", workers=2,
                     seed=1, trials=36, **more)
    assert found.trials["state"].eq("FINISHED").sum() >= 30 and found.best_value < 0.2
    points = found.trials[["x", "y"]]
    assert more.get("method") != "evolution" or not points.duplicated().any()
    client, [parent], nested = runs_in(own_store)
    assert len(nested) == len(found.trials) and "importances.png" in artifacts(client, parent)
    assert found.best_value == found.trials["value"].min()


def test_of_equally_good_trials_the_first_is_the_best(own_store):
    def train(x, y):
        return 0

    found = searched(train, {"x": [1, 2, 3, 4], "y": [1, 2, 3]}, method="grid", workers=2)
    assert found.best_params == {"x": 1, "y": 1} and found.best_value == 0


def test_evolution_has_thirty_trials_by_default_and_survives_failures(own_store):
    def train(x):
        if x < 0:
            raise ValueError("negative")
        return -x

    found = searched(train, {"x": (-1.0, 1.0)}, method="evolution", workers=3, seed=0)
    assert len(found.trials) == 30 and found.trials["state"].eq("FAILED").any()
    assert found.best_value == found.trials["value"].max() < 0, "the best of negative values"


def test_several_metrics_give_the_pareto_front(own_store):
    def train(size):
        return {"accuracy": 1 - 1 / size, "seconds": size if size < 5 else 9}

    found = searched(train, {"size": [1, 2, 4, 8, 5]}, method="grid", workers=2,
                     metric=["accuracy", "seconds"], direction=["maximize", "minimize"])
    assert found.best_params == [{"size": 1}, {"size": 2}, {"size": 4}, {"size": 8}]
    assert found.best_value[1] == [0.5, 2] and len(found.best_run_id) == 4
    assert list(found.trials.columns) == ["number", "state", "accuracy", "seconds", "size"]
    client, [parent], _ = runs_in(own_store)
    assert {"pareto.png", "trials.csv"} <= artifacts(client, parent)
    assert len(searched(train, {"size": (1, 20)}, metric=["accuracy", "seconds"], trials=4,
                        direction=["maximize", "minimize"]).trials) == 4


def test_an_ablation_runs_a_base_and_a_trial_for_each_part(own_store):
    def train(without=None):
        return {None: 0.9, "conv1": 0.5, "dropout": 0.8}[without]

    found = searched(train, {"without": ["conv1", "dropout"]}, method="ablation")
    assert found.trials["without"].fillna("base").tolist() == ["base", "conv1", "dropout"]
    assert found.best_params == {"without": None}


def test_the_random_numbers_of_a_trial_do_not_depend_on_the_workers(own_store):
    def train(x):
        import random
        return random.random()

    drawn = [searched(train, {"x": (0.0, 1.0)}, method="random", trials=6, workers=workers,
                      seed=4).trials for workers in (1, 3)]
    pd.testing.assert_frame_equal(*drawn)
    assert drawn[0]["value"].nunique() == 6


def test_workers_share_the_cores(own_store, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def train(x):
        return int(os.environ["OMP_NUM_THREADS"])

    assert searched(train, {"x": [1]}, method="grid").best_value == len(os.sched_getaffinity(0))
    assert searched(train, {"x": [1, 2]}, method="grid", workers=64).best_value == 1


def test_a_run_can_hold_one_search(own_store):
    def train(x):
        return x

    with start_run("quick/main.py", {"search": {"method": "mine"}}) as run:
        search(train, {"x": [1]}, direction="maximize", method="grid")
        with pytest.raises(SearchError, match=r"with mlflow.start_run\(nested=True\)"):
            search(train, {"x": [1]}, direction="maximize", method="grid")
        with mlflow.start_run(nested=True) as second:
            found = search(train, {"x": [1]}, direction="maximize", method="grid")
            assert found.run_id == second.info.run_id
    assert mlflow.get_run(run.info.run_id).data.params["search.method"] == "mine"
    found = search(train, {"x": [1]}, direction="maximize", method="grid")  # opens a run of its own
    assert found.run_id not in (run.info.run_id, second.info.run_id)
    assert mlflow.active_run() is None


def test_a_function_that_cannot_be_sent_or_loaded_is_refused_with_a_reason(own_store):
    lock = threading.Lock()

    def locked(x):
        return lock.locked()

    with pytest.raises(SearchError, match="locked cannot be sent to worker .* Create lock inside"):
        searched(locked, {"x": [1]}, method="grid")

    class Unloadable:
        def __reduce__(self):
            return os.listdir, ("/nowhere",)

    here = Unloadable()

    def unloadable(x):
        return here

    with pytest.raises(SearchError, match="(?s)cannot be loaded in a worker.*/nowhere"):
        searched(unloadable, {"x": [1]}, method="grid")
    assert {run.info.status for run in runs_in(own_store)[2]} <= {"KILLED"}


def test_skip_finished_takes_over_the_trials_of_an_earlier_search(own_store):
    limit = 2

    def train(x):
        Path(f"{own_store}/ran-{x}-{limit}").touch()
        return {"score": x, "other": 1} if x < 3 else None

    given = {"metric": "score", "method": "grid", "skip_finished": True}
    searched(train, {"x": [1, 3]}, **given)
    for file in own_store.glob("ran-*"):
        file.unlink()
    found = searched(train, {"x": [1, 2, 3]}, **given)
    assert sorted(file.name for file in own_store.glob("ran-*")) == ["ran-2-2", "ran-3-2"]
    assert found.trials["value"].tolist()[:2] == [1, 2] and found.best_params == {"x": 2}
    assert len(runs_in(own_store)[2]) == 4
    limit = 5  # a function that holds other data is another function
    searched(train, {"x": [1]}, **given)
    assert (own_store / "ran-1-5").exists()
    (own_store / "ran-1-5").unlink()
    searched(train, {"x": [1]}, seed=1, **given)  # it may draw other numbers
    assert (own_store / "ran-1-5").exists()
