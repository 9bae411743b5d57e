from pathlib import Path

from lib.testing import run_python, runs_in

from .new_process import load_data, split, train

MAIN = Path(__file__).with_name("main.py")


def test_the_model_explains_part_of_the_variance():
    X_train, X_test, y_train, y_test = split(*load_data(), test_size=0.25, seed=0)
    assert 0.2 < train(X_train, y_train, alpha=0.1).score(X_test, y_test) < 1


def test_the_process_logs_its_parameters_and_metrics(own_store):
    done = run_python(MAIN, "alpha=0.5", folder=own_store)
    assert done.returncode == 0, done.stderr
    _, [run], _ = runs_in(own_store)
    assert run.info.status == "FINISHED" and run.data.params["alpha"] == "0.5"
    assert 0.2 < run.data.metrics["test_r2"] < 1
