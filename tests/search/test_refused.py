"""Values that MLflow refuses fail one trial, and not the search."""

import pytest

from taglab.search import SearchError, search
from taglab.testing import run_python, runs_in
from taglab.tracking import start_run

PROGRAM = """
import os
import mlflow
from sklearn.linear_model import Ridge
from taglab.search import search
from taglab.tracking import start_run
def train(x, alpha):
    if x == 1:
        mlflow.autolog()
        Ridge(alpha=alpha + 1).fit([[0], [1]], [0, 1])
    if x == 2:
        return {"score": 1, "a//b": 2}
    if x == 3:
        return {"score": 1, 251 * "m": 2}
    if x == 4:
        raise OSError("no file \\udcff")
    if x == 5:
        mlflow.log_param("alpha", "another")
    return {"score": x}
with start_run("quick/main.py", {}):
    found = search(train, {"x": [*range(8)], "alpha": [0.5]}, method="grid", metric="score",
                   direction="maximize", workers=2)
    print(found.trials["state"].tolist(), found.best_params)
    if "again" not in os.environ:
        raise ValueError("the journal stays")
"""


def test_a_value_that_mlflow_refuses_fails_its_trial_and_no_other(own_store):
    state = own_store / "state"
    done = run_python("-c", PROGRAM, folder=own_store, LAB_STATE=state)
    again = run_python("-c", PROGRAM, folder=own_store, LAB_STATE=state, again="1")
    for each in (done, again):
        assert ("['FINISHED', 'FAILED', 'FAILED', 'FAILED', 'FAILED', 'FAILED', 'FINISHED',"
                " 'FINISHED'] {'x': 7, 'alpha': 0.5}") in each.stdout, each.stderr
    assert "trial 5 FAILED: MLflow refused what this trial logged" in done.stdout
    _, parents, nested = runs_in(own_store)
    errors = {int(run.data.tags["trial"]): run.data.tags.get("error") for run in nested}
    assert [run.info.status for run in parents] == ["FAILED", "FINISHED"]
    assert {run.data.tags["trial"] for run in nested if run.info.status == "FINISHED"} == {
        "0", "6", "7"} and len(nested) == 8
    assert {run.info.status for run in nested} == {"FINISHED", "FAILED"}
    assert "Changing param values is not allowed" in errors[1] + errors[5]
    assert "use 'a_b'" in errors[2] and "at most 250" in errors[3]
    assert errors[4] == r"OSError: no file \udcff"


@pytest.mark.parametrize("space, more, better", [
    ({"lr (max)": [1]}, {}, "lr_max"), ({"a=b": [1]}, {}, "a_b"), ({"x" * 240: [1]}, {}, "x" * 80),
    ([{"a=b": 1}], {"method": "list"}, "a_b"), ({"x": [1]}, {"metric": "a//b"}, "a_b")])
def test_names_that_mlflow_refuses_are_refused_before_any_run(own_store, space, more, better):
    with start_run("quick/main.py", {}), pytest.raises(SearchError, match=f"use '{better}"):
        search(lambda **given: 1, space, direction="minimize", **more)
    assert runs_in(own_store)[2] == []
