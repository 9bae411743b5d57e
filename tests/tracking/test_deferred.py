import contextlib

import pytest

from taglab.testing import artifacts, runs_in
from taglab.tracking import start_run
from taglab.tracking.deferred import defer
from taglab.tracking.quick_mlflow import mlflow


@pytest.mark.parametrize("error", [None, ValueError("wrong")])
def test_deferred_work_waits_for_the_body_and_is_done_before_the_run_ends(own_store, error):
    done = []

    def work():
        done.append(mlflow.get_run(run.info.run_id).info.status)
        mlflow.MlflowClient().log_text(run.info.run_id, "drawn", "figure.txt")

    def body():
        defer(run.info.run_id, work)
        assert not done
        if error:
            raise error

    with contextlib.suppress(ValueError), start_run("quick/main.py", {}) as run:
        body()
    assert done == ["RUNNING"]
    client, _, _ = runs_in(own_store)
    assert "figure.txt" in artifacts(client, client.get_run(run.info.run_id))


def test_what_is_deferred_for_another_run_or_outside_of_one_is_done_now(own_store):
    done = []
    defer("one", lambda: done.append(1))
    with start_run("quick/main.py", {}), mlflow.start_run(nested=True) as nested:
        defer(nested.info.run_id, lambda: done.append(2))
        assert done == [1, 2]
