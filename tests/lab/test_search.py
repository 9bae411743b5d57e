"""Searches that are killed and resumed, and searches that several processes share."""
from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from taglab.search.messages import FINISHED, Outcome
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess
from taglab.search.queue import TrialQueue

from .conftest import ONE_KIND, RUNS, BakedLab
from .servers import postgresql

pytestmark = ONE_KIND
KILLS, REPEATS = int(os.environ.get("KILLS", 6)), int(os.environ.get("REPEATS", 2))

# Each search is a process, forked from one that has imported everything.
FORK = """
import os, random, signal, sys, time
import git, taglab.search.start, mlflow.store.tracking.sqlalchemy_store
from taglab.search import search
from taglab.tracking import start_run
def forked(run_search):
    pid = os.fork()
    if not pid:
        sys.stdout = open(os.devnull, "w")
        run_search()
        os._exit(0)
    return pid
"""
KILL_SEARCH = FORK + """
def train(x):
    time.sleep(0.01)
    return x * x
def run_search():
    with start_run("quick/main.py", {}):
        search(train, {"x": list(range(30))}, direction="minimize", method="grid", workers=3)
random.seed(int(sys.argv[2]))
killed = 0
while killed < int(sys.argv[1]):
    pid = forked(run_search)
    time.sleep(random.uniform(0.1, 1))
    os.kill(pid, int(sys.argv[3]))
    killed += os.waitpid(pid, 0)[1] != 0
assert os.waitpid(forked(run_search), 0)[1] == 0
"""
KILL_WORKER = FORK + """
from pathlib import Path
def run_search():
    dies = random.randrange(110)
    def train(x, repeat):
        time.sleep(0.002)
        if x == dies and not (died := Path(os.environ["LAB_STATE"], f"died-{repeat}")).exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x
    with start_run("quick/main.py", {}):
        found = search(train, {"repeat": [repeat], "x": list(range(110))}, direction="minimize",
                       method="grid", workers=4)
        assert found.trials["value"].tolist() == list(range(110))
for repeat in range(int(sys.argv[1])):
    assert os.waitpid(forked(run_search), 0)[1] == 0
"""
SHARED = """
import os, sys, time
import taglab.search.queue
taglab.search.queue.HEARTBEAT = 1
from taglab.search import search
from taglab.tracking import start_run
def train(x, y):
    time.sleep(0.1)
    return (x - 0.3) ** 2 + y
with start_run("quick/main.py", {}):
    space = {"x": (0.0, 1.0), "y": [0, 1]}
    found = search(train, space, method=sys.argv[1], direction="minimize", trials=int(sys.argv[2]),
                   seed=3)
    print("value", found.best_value)
    print("points", found.trials["x"].tolist())
    print("numbers", found.trials["number"].tolist())
"""
DIES_AFTER_LOGGING = """
import os, signal
import taglab.search.queue
def tell(queue, record):  # MLflow has the result by now, the shared queue has not
    os.kill(os.getpid(), signal.SIGKILL)
if os.environ["JOB_COMPLETION_INDEX"] == "1":
    taglab.search.queue.TrialQueue.tell = tell
"""


@pytest.fixture
def state(lab: BakedLab, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the variables of the test's own store and state; no process may be left behind."""
    store = {"LAB_STATE": str(tmp_path / "state"), "MLFLOW_EXPERIMENT_NAME": "test",
             "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    (tmp_path / "state").mkdir()
    lab.ok("python -c 'from taglab.tracking import connect; connect()'", **store)
    yield store
    end = time.monotonic() + 20
    while left := processes_with(f"LAB_STATE={store['LAB_STATE']}"):
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.1)


def processes_with(variable: str) -> list[str]:
    """Return the command lines of the processes with a variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def run(lab: BakedLab, script: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start a script in the lab's Python."""
    return subprocess.Popen(
        [lab.path / ".venv/bin/python", "-c", script, *map(str, arguments)], cwd=lab.path,
        env={**os.environ, **variables}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for a script, which must succeed; return its output."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def runs(lab: BakedLab, **variables: str) -> list[dict]:
    """Return all runs."""
    return json.loads(lab.ok(f"python -c '{RUNS}'", **variables))


def trials_of_searches(lab: BakedLab, **variables: str) -> dict[str, list[dict]]:
    """Return the runs of trials, by search."""
    searches = defaultdict(list)
    for each in runs(lab, **variables):
        if "trial" in each["tags"]:
            searches[each["tags"]["search"]].append(each)
    return searches


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_killed_at_any_moment_resumes_to_the_same_finished_trials(
    lab: BakedLab, state: dict[str, str], number: int
) -> None:
    finished(run(lab, KILL_SEARCH, KILLS, 0, int(number), **state))
    parents = [each for each in runs(lab, **state) if each["parent"] is None]
    assert len(parents) > KILLS / 2, "most were killed after the search had started"
    searches = trials_of_searches(lab, **state)
    for trials in searches.values():
        assert Counter(each["status"] for each in trials) == {"FINISHED": 30}
        assert sorted((int(each["tags"]["trial"]), each["metrics"]["value"]) for each in trials) \
            == [(x, x * x) for x in range(30)]
        assert len({each["parent"] for each in trials}) == 1


def test_with_a_killed_worker_every_point_is_tried_exactly_once(
    lab: BakedLab, state: dict[str, str]
) -> None:
    finished(run(lab, KILL_WORKER, REPEATS, **state))
    searches = trials_of_searches(lab, **state)
    assert len(searches) == REPEATS
    for trials in searches.values():
        assert sorted(each["metrics"]["value"] for each in trials) == list(range(110))
        assert {each["status"] for each in trials} == {"FINISHED"}
        assert sum("attempts" in each["tags"] for each in trials) == 1


def test_a_terminal_shows_a_progress_bar_that_the_log_leaves_out(
    lab: BakedLab, state: dict[str, str]
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([lab.path / ".venv/bin/python", "-c", SHARED, "random", "5"],
                               cwd=lab.path, env={**os.environ, **state}, stdout=theirs,
                               stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux raises this once nobody writes any more
        while block := os.read(ours, 10_000):
            shown += block
    assert process.wait() == 0, shown.decode()
    last = shown.decode().split("\r")
    assert any("5/5" in line and "0 failed, 0 pruned, best 0." in line for line in last)
    [parent] = [each for each in runs(lab, **state) if each["parent"] is None]
    log = lab.ok(f"python -c 'import mlflow; print(mlflow.artifacts.load_text("
                 f"\"runs:/{parent['id']}/output.log\"))'", **state)
    assert "numbers [0, 1, 2, 3, 4]" in log and "5/5" not in log


def test_processes_divide_points_that_are_known_beforehand(
    lab: BakedLab, state: dict[str, str]
) -> None:
    shown = shared(lab, state, "random", 12)
    assert f"numbers {list(range(12))}" in shown[0] and "numbers" not in shown[1] + shown[2]
    [trials] = trials_of_searches(lab, **state).values()
    by_process = {(int(each["tags"]["trial"]) % 3, each["tags"]["search_process"])
                  for each in trials}
    assert len(trials) == 12 and by_process == {(0, "0"), (1, "1"), (2, "2")}
    [parent] = {each["parent"] for each in trials}
    found = runs(lab, **state)
    assert [each["metrics"]["trials_finished"] for each in found if each["id"] == parent] == [12]
    others = [each for each in found if each["parent"] == parent and "trial" not in each["tags"]]
    assert [each["status"] for each in others] == ["FINISHED"] * 2


def shared(lab: BakedLab, state: dict[str, str], method: str, trials: int, kill: bool = False,
           **more: str) -> list[str]:
    """Run a search in three processes, of which one may be killed; return their output."""
    started = [run(lab, SHARED, method, trials, **state, **more, JOB_COMPLETIONS="3",
                   JOB_COMPLETION_INDEX=str(index)) for index in range(3)]
    if kill:
        for line in started[2].stdout:
            if "(2/" in line:
                started.pop().kill()
                break
    return [finished(process) for process in started]


def points_of_one_process(method: str, trials: int) -> list[float]:
    """Return each x of the search in SHARED where one process runs its trials one by one."""
    plan = Plan(lambda x, y: 0, {"x": (0.0, 1.0), "y": [0, 1]}, method, "minimize", None, trials,
                1, 3, None, None)
    queue, points = TrialQueue(plan, SearchProcess(), "alone"), []
    queue.fill(trials, {})
    while record := queue.ask():
        points.append(record.point["x"])
        record.end(Outcome(FINISHED, [(record.point["x"] - 0.3) ** 2 + record.point["y"]]))
        queue.tell(record)
    return points


def test_a_pod_that_replaces_a_lost_one_runs_the_missing_trials(
    lab: BakedLab, state: dict[str, str], tmp_path: Path
) -> None:
    def pod(index: int, place: str) -> subprocess.Popen[str]:  # with its own disk
        folder = tmp_path / "pods" / place
        folder.mkdir(parents=True)
        return run(lab, SHARED, "random", 40, **state | {"LAB_STATE": str(folder)},
                   JOB_NAME="wide", JOB_COMPLETIONS="2", JOB_COMPLETION_INDEX=str(index))

    first, lost = pod(0, "first"), pod(1, "lost")
    for line in lost.stdout:
        if "(4/" in line:
            break
    lost.kill()
    again = finished(pod(1, "again"))
    assert f"numbers {list(range(40))}" in finished(first) and "trial 1 " not in again
    after_the_end = pod(1, "after")
    assert "no more trials" in finished(after_the_end)
    found = runs(lab, **state)
    assert {each["status"] for each in found} == {"FINISHED"} and len(found) == 40 + 2 + 1
    assert [each["tags"]["index"] for each in found if not each["parent"]] == ["0"]


def test_processes_share_an_adaptive_search_though_one_is_killed(
    lab: BakedLab, state: dict[str, str], tmp_path: Path
) -> None:
    with postgresql(tmp_path / "postgresql") as storage:
        shown = shared(lab, state, "tpe", 24, kill=True, LAB_SEARCH_STORAGE=storage)
    assert f"numbers {list(range(24))}" in shown[0]
    assert float(shown[0].split("value ")[-1].split()[0]) < 0.2
    assert f"points {points_of_one_process('tpe', 24)}\n" in shown[0]
    [trials] = trials_of_searches(lab, **state).values()
    done = Counter(each["tags"]["trial"] for each in trials if each["status"] == "FINISHED")
    assert sorted(map(int, done)) == list(range(24)) and set(done.values()) == {1}
    # What the killed one had not recorded yet, the others ran again.
    assert {each["tags"]["search_process"] for each in trials} >= {"0", "1"}


def test_a_trial_that_was_logged_before_its_process_died_does_not_run_again(
    lab: BakedLab, state: dict[str, str], tmp_path: Path
) -> None:
    with postgresql(tmp_path / "postgresql") as storage:
        script = DIES_AFTER_LOGGING + SHARED
        first, lost = [run(lab, script, "tpe", 12, **state, JOB_COMPLETIONS="2",
                           JOB_COMPLETION_INDEX=str(index), LAB_SEARCH_STORAGE=storage)
                       for index in range(2)]
        assert lost.wait(120) == -signal.SIGKILL
        assert f"numbers {list(range(12))}" in finished(first)
    [trials] = trials_of_searches(lab, **state).values()
    assert sorted(int(each["tags"]["trial"]) for each in trials
                  if each["status"] == "FINISHED") == list(range(12))
