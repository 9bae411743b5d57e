"""`taglab.search` beside a loop, Optuna's MLflow callback and Hydra; and what it keeps of a search.

    python benchmarks/search.py [rates] [trivial] [tasks] [reports] [growth] [stopping] [kills]
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from labs import bake, python_of, python_path

TRIALS, MANY, SLEEP, TASKS = 200, 10_000, 0.05, 110
VERSIONS = """\
import sys
from importlib.metadata import version
print(f"Python {sys.version.split()[0]}", *(f"{name} {version(name)}" for name in sys.argv[1:]))
"""
PACKAGES = "mlflow optuna optuna-integration hydra-core hydra-joblib-launcher joblib".split()
# A rival's store is as MLflow makes it for everyone; the lab makes its own.
STORES = {"mlflow": "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()",
          "lab": "import sys; from taglab.tracking import store; "
                 "store.prepare(store.sqlite_file(sys.argv[1]))"}
# Nested runs that ended well and have their two parameters and a metric.
COMPLETE = """\
SELECT count(*) FROM runs JOIN tags USING (run_uuid)
WHERE status = 'FINISHED' AND tags.key = 'mlflow.parentRunId'
AND (SELECT count(*) FROM params WHERE params.run_uuid = runs.run_uuid) = 2
AND EXISTS (SELECT * FROM metrics WHERE metrics.run_uuid = runs.run_uuid)
"""
Figures = dict[str, float]


@dataclass(frozen=True)
class Contender:
    """A way to make trials: a script with its arguments, in how many rounds, in which store."""

    name: str
    command: str
    rounds: int
    store: str = "mlflow"


LOOP = Contender("loop of nested runs", "naive {trials} {seconds}", 3)
ALONE, PAIR, FOUR = (Contender(f"search, workers={workers}", "lab rates {trials} {seconds} "
                               f"{workers}", 3, "lab") for workers in (1, 2, 4))
CONTENDERS = [
    LOOP, ALONE, PAIR, FOUR,
    Contender("the loop in the lab's store", "naive {trials} {seconds}", 1, "lab"),
    Contender("Optuna's callback", "optuna_callback {trials} {seconds} 1", 2),
    Contender("Optuna's callback, n_jobs=4", "optuna_callback {trials} {seconds} 4", 2),
    # For trivial trials Hydra is faster with a process for each core than with 4.
    Contender("Hydra with joblib", "hydra_joblib --multirun gamma=range(1,21) C=range(1,11) "
              "seconds={seconds} hydra.launcher.n_jobs={jobs}", 1)]


class Bench:
    """A lab, the environment of the rivals, and an empty store of each kind."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lab = folder, bake(folder)
        self._scripts = shutil.copytree(Path(__file__).with_name("rivals"), folder / "rivals")
        shutil.copy(self._lab / "requirements.txt", self._scripts / "constraints.txt")
        self._pythons = {"lab": python_of(self._lab), "mlflow": python_of(self._scripts)}
        for store, code in STORES.items():
            (folder / store).mkdir()
            self._run(store, folder, "-c", code, f"sqlite:///{folder / store}/mlflow.db")
        self.versions = self._run("mlflow", folder, "-c", VERSIONS, *PACKAGES).strip()

    def measure(self, script: str, *arguments: object, store: str, complete: int = 0) -> Figures:
        """Run a script with a new store and return the figures that it prints last.

        `complete` is the number of nested runs that the store must hold after it.
        """
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            shutil.copy(self._folder / store / "mlflow.db", folder)
            printed = self._run("lab" if script == "lab" else "mlflow", Path(folder),
                                self._scripts / f"{script}.py", *arguments)
            runs = sqlite3.connect(f"{folder}/mlflow.db").execute(COMPLETE).fetchone()[0]
        if complete not in (0, runs):
            sys.exit(f"{script}.py left {runs} complete runs of {complete}")
        return json.loads(printed.splitlines()[-1])

    def _run(self, python: str, folder: Path, *arguments: object) -> str:
        """Run Python with the store in `folder` and return what it printed."""
        done = subprocess.run(
            [self._pythons[python], *map(str, arguments)], cwd=folder, text=True,
            capture_output=True, env={
                **os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
                "MLFLOW_EXPERIMENT_NAME": "benchmark", "MLFLOW_DISABLE_TELEMETRY": "true",
                "LAB_STATE": f"{folder}/state", "LAB_ROOT": str(self._lab),
                "PYTHONPATH": python_path(self._lab)})
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, arguments))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


def judge(what: str, figure: str, target: str, met: bool) -> None:
    """Print one line."""
    print(f"{what}: {figure} (target: {target}, {'met' if met else 'MISSED'})", flush=True)


def in_turns(bench: Bench, seconds: float) -> dict[Contender, Figures]:
    """Run the contenders in turns, round after round; return the medians of their figures."""
    taken: dict[Contender, list[Figures]] = {contender: [] for contender in CONTENDERS}
    for number in range(max(contender.rounds for contender in CONTENDERS)):
        for each in [each for each in CONTENDERS if number < each.rounds]:
            command = each.command.format(trials=TRIALS, seconds=seconds, jobs=4 if seconds else 2)
            taken[each].append(
                bench.measure(*command.split(), store=each.store, complete=TRIALS))
    return {each: {name: statistics.median(figures[name] for figures in rounds)
                   for name in rounds[0]} for each, rounds in taken.items()}


def rates(bench: Bench) -> None:
    """Trials a second of all contenders, where a trial takes a moment."""
    compare(bench, SLEEP, FOUR, 7)


def trivial(bench: Bench) -> None:
    """The same for trials that take no time, and what a search adds to each."""
    medians = compare(bench, 0, PAIR, 2.5)
    cost, end, start = medians[ALONE]["seconds"], medians[ALONE]["end"], medians[FOUR]["start"]
    cost, end = cost / TRIALS * 1000, end / TRIALS * 1000
    judge("added to each trial by search and tracking",
          f"{cost:.1f} ms, of which the summary at the end {end:.1f}", "under 12", cost < 12)
    judge("start to first trial", f"{start:.2f} s", "under 1.5", start < 1.5)


def compare(bench: Bench, seconds: float, judged: Contender,
            target: float) -> dict[Contender, Figures]:
    """Print the trials a second of all contenders, of trials that take so many seconds."""
    medians = in_turns(bench, seconds)
    times = {each: medians[LOOP]["seconds"] / medians[each]["seconds"] for each in CONTENDERS}
    for each in CONTENDERS:
        print(f"{TRIALS} trials of {seconds} s, {each.name}: "
              f"{TRIALS / medians[each]['seconds']:.1f} trials/s, {times[each]:.2f} times the "
              f"loop (rounds: {each.rounds})", flush=True)
    judge(f"trials of {seconds} s, {judged.name}", f"{times[judged]:.2f} times the loop",
          f"at least {target}", times[judged] >= target)
    return medians


def tasks(bench: Bench) -> None:
    """Many short tasks."""
    taken = statistics.median(bench.measure(
        "lab", "rates", TASKS, 0.01, 4, store="lab", complete=TASKS)["seconds"] for _ in range(3))
    judge(f"{TASKS} tasks of 10 ms, 4 workers", f"{taken:.2f} s", "under 1", taken < 1)


def reports(bench: Bench) -> None:
    """What a trial pays for its reports, without a pruner and with one that stops no trial."""
    alone, heard = (bench.measure("lab", "reports", pruner, store="lab")["seconds"] * 1000
                    for pruner in ("none", "pruner"))
    judge("30 reports of a trial, 8 workers", f"{alone:.2f} ms without a pruner, {heard:.1f} with",
          "under 5 without", alone < 5)


def growth(bench: Bench) -> None:
    """Whether a long search grows slower, and how long MLflow then takes for a page of runs."""
    figures = bench.measure("lab", "page", MANY, store="lab", complete=MANY)
    first, last, mean = (figures[name] * 1000 for name in ("first 100", "last 100", "each"))
    judge(f"{MANY} trials of 0 s", f"{mean:.1f} ms a trial, {mean / first:.2f} times the first 100"
          f" ({first:.1f} ms; the last 100: {last:.1f})", "at most 2", mean <= 2 * first)
    print(f"a page of 100 of {MANY} runs: {figures['newest']:.2f} s for the newest, "
          f"{figures['best']:.2f} s for the best")


def stopping(bench: Bench) -> None:
    """Early stopping of single trials against batches that wait for their slowest trial."""
    batches = bench.measure("batches", store="mlflow")
    for order in ("in order", "asynchronous"):
        search = bench.measure("lab", "stopping", order, store="lab")
        saved, same = 1 - search["seconds"] / batches["seconds"], search["best"] == batches["best"]
        judge(f"early stopping against synchronous batches, {order}",
              f"{saved:.0%} less time ({search['seconds']:.1f} s, {batches['seconds']:.1f} s), "
              f"{search['stopped']} trials stopped, {'the same' if same else 'ANOTHER'} best",
              "at least 60% and the same best", saved >= 0.6 and same)


def kills(bench: Bench) -> None:
    """Whether every point is there once, although a worker is killed."""
    found = bench.measure("lab", "kills", store="lab")
    judge("110 points over 4 workers, one killed", f"{found['wrong']} of {found['repeats']} "
          f"searches lost or repeated a point; a trial was hit in {found['hit']}", "0",
          found["wrong"] == 0 < found["hit"])


def main() -> None:
    """Print the versions and the lines of the parts that were asked for."""
    parts = {"rates": rates, "trivial": trivial, "tasks": tasks, "reports": reports,
             "growth": growth, "stopping": stopping, "kills": kills}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", choices=[[], *parts],
                        help=f"{', '.join(parts)}; all when none is named")
    chosen = parser.parse_args().parts or list(parts)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        print(f"{bench.versions}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for name in chosen:
            parts[name](bench)


if __name__ == "__main__":
    main()
