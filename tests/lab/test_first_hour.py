"""The first hour of a data scientist with a job of their own, typed as they would type it."""
from __future__ import annotations

import json
import os
import pty
import subprocess
import time

import pytest

from .conftest import AUTHOR, BakedLab, bake

MAIN = '''\
"""Search the penalty of a ridge regression of house prices, then test the best one."""

from taglab.config import load_config
from taglab.search import search
from taglab.tracking import start_run

import mlflow
from house_prices import error_of, load_data


def main() -> None:
    config = load_config(__file__)

    with start_run(__file__, config):
        prices = load_data("prices.csv")

        def train(alpha: float) -> float:
            return error_of(prices, alpha)

        found = search(train, {"alpha": (0.01, 100.0)}, metric="cv_rmse", trials=config["trials"],
                       workers=config["workers"])
        mlflow.log_metric("test_rmse", found.best_value)
        print(f"alpha {found.best_params['alpha']:.4f}")


if __name__ == "__main__":
    main()
'''
WORK = '''\
"""What house_prices does, as plain functions."""

import time

import pandas as pd


def load_data(file: str) -> pd.DataFrame:
    """Return prices by the area of the house."""
    return pd.read_csv(file)


def error_of(prices: pd.DataFrame, alpha: float) -> float:
    """Return the error of a fit that is best at an alpha of 40; one half takes longer."""
    time.sleep(0.05 if alpha > 50 else 0)
    return abs(alpha - 40) + prices["price"].std() / 1e6
'''
CONFIG = "seed = 0\ntrials = 14\nworkers = 2\n"
GOAL = '\n[[goal]]\nprocess = "house_prices"\nmetric = "test_rmse"\nat_most = {limit}\n'
FOLDER = "lab/processes/house_prices"
pytestmark = pytest.mark.xdist_group("first_hour")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> BakedLab:
    """Return a lab with an experiment of its own, whose data lies in the folder and not in git."""
    lab = bake(tmp_path_factory.mktemp("walk"), deep_learning="none")
    lab.ok("python3 vendor/taglab init")
    lab.ok("lab new house_prices")
    for name, text in {"main.py": MAIN, "house_prices.py": WORK, "config.toml": CONFIG}.items():
        (lab.path / FOLDER / name).write_text(text)
    (lab.path / FOLDER / "test_house_prices.py").unlink()
    (lab.path / "prices.csv").write_text("area,price\n50,200\n80,290\n120,450\n")
    lab.ok("git add lab .drone.yml && git commit -q -m 'House prices'")
    return lab


def commit(lab: BakedLab, name: str, old: str, new: str) -> None:
    """Change a text in a file, and commit it."""
    file = lab.path / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    lab.ok(f"git commit -q -m 'Change' {name}")


def newest(lab: BakedLab) -> dict:
    """Return the newest build."""
    return lab.build(max(int(path.name) for path in (lab.path / ".lab/builds").iterdir()
                         if path.name.isdigit()))


def test_the_first_hour(walk: BakedLab) -> None:
    lab = walk

    # The data is not in the commit: the push says how many files are not, the build says which.
    shown = lab.push("house-prices-v1")
    assert "1 change in the lab's folder is not in commit" in shown, shown
    assert "git add prices.csv" in shown
    [run] = lab.runs(tag="house-prices-v1")
    assert (run["name"].split()[0], run["status"]) == ("house_prices", "FAILED")
    assert newest(lab)["status"] == "failure"
    lab.ok("git add prices.csv && git commit -q -m 'The prices'")

    # A search that does not say which way is good is refused, before a trial starts.
    shown = lab.push("house-prices-v2")
    assert 'direction="minimize"' in shown and 'direction="maximize"' in shown, shown
    [run] = lab.runs(tag="house-prices-v2")
    assert run["status"] == "FAILED"
    commit(lab, f"{FOLDER}/main.py", 'metric="cv_rmse"', 'metric="cv_rmse", direction="minimize"')

    # The best trial wins, stands first and is marked; the same tag gives the same numbers.
    shown = lab.push("house-prices-v3")
    runs = lab.runs(tag="house-prices-v3")
    parent, trials = runs[0], runs[1:]
    best = min(trial["metrics"]["cv_rmse"] for trial in trials)
    assert parent["metrics"]["cv_rmse"] == best and len(trials) == 14
    table = shown[shown.rindex("metrics"):].splitlines()
    assert f"cv_rmse {best:.4g}" in table[2], table
    again = lab.ok("lab restart 3")
    assert "success" in again or newest(lab)["status"] == "success"
    second = lab.runs(tag="house-prices-v3")[len(runs):]
    assert ([run["params"] for run in second[1:]] == [run["params"] for run in trials]
            and second[0]["metrics"]["cv_rmse"] == best)

    # A goal that is missed fails the push of an experiment of one's own; one that is met does not.
    with (lab.path / "goals/goals.toml").open("a") as goals:
        goals.write(GOAL.format(limit=best / 2))
    lab.ok("git commit -q -a -m 'A goal'")
    assert "house_prices" in lab.push("house-prices-v4")
    assert newest(lab)["status"] == "failure"
    commit(lab, "goals/goals.toml", f"at_most = {best / 2}", f"at_most = {best * 2}")
    lab.push("house-prices-v5")
    assert newest(lab)["status"] == "success", lab.ok("lab logs")

    # What crashes before the run begins is a run that failed, too.
    commit(lab, f"{FOLDER}/main.py", "import mlflow\n", "import mlflow\nimport no_such_package\n")
    lab.push("house-prices-v6")
    [run] = lab.runs(tag="house-prices-v6")
    assert run["status"] == "FAILED" and "output.log" in run["artifacts"]
    commit(lab, f"{FOLDER}/main.py", "import no_such_package\n", "")

    # Runs of one process can be told apart.
    listed = lab.ok("lab runs")
    assert {f"house-prices-v{number}" for number in range(1, 7)} <= set(listed.split()), listed
    [run] = json.loads(lab.ok("lab runs --build --json 2>/dev/null"))
    assert (run["status"], run["tags"]["tag"]) == ("FAILED", "house-prices-v6")


def test_a_second_clone_pushes_all_tags(walk: BakedLab) -> None:
    walk.ok("git clone -q . ../second")
    second = BakedLab(walk.path.parent / "second")
    second.ok("python3 vendor/taglab init")
    shown = second.ok("git push local --tags")
    builds = [second.build(number) for number in range(1, 7)]
    statuses = {build["commit"]["ref"].rpartition("/")[2]: build["status"] for build in builds}
    assert [name for name, status in statuses.items() if status != "skipped"] == ["house-prices-v6"]
    assert "lab restart" in shown
    number = next(build["number"] for build in builds if build["commit"]["ref"].endswith("-v5"))
    second.ok(f"lab restart {number}")
    assert newest(second)["status"] == "success"


def test_a_push_that_is_interrupted_goes_on_and_says_so(walk: BakedLab) -> None:
    commit(walk, f"{FOLDER}/config.toml", "trials = 14", "trials = 200")
    walk.ok("git tag house-prices-v7")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    main, terminal = pty.openpty()
    push = subprocess.Popen(["git", "push", "origin", "house-prices-v7"], cwd=walk.path,
                            env={**clean, **AUTHOR}, stdin=terminal, stdout=terminal,
                            stderr=terminal, start_new_session=True,
                            preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))
    os.close(terminal)
    shown = b""
    while b"trial 3" not in shown:
        shown += os.read(main, 65536)
    os.write(main, b"\x03")  # Ctrl-C
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            chunk = os.read(main, 65536)
        except OSError:  # nobody has the terminal open any more
            break
        shown += chunk
    push.wait(20)
    number = newest(walk)["number"]
    text = shown.decode(errors="replace")
    assert f"lab logs {number} --follow" in text and f"lab cancel {number}" in text, text
    assert newest(walk)["status"] == "running"
    walk.ok(f"lab cancel {number}")
    assert newest(walk)["status"] == "killed"
