"""The loop of a search: it gives trials to the workers, hears from them and records."""

import contextlib
import shutil
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import optuna
from tqdm import tqdm

from .cluster import BEAT, Shared
from .journal import Journal, Record, best, now
from .plan import Plan
from .pool import Pool
from .runs import Runs, uninterrupted
from .study import STATES
from .worker import FAILED, FINISHED, PRUNED


class Launcher:
    """Runs trials in the workers of a pool, as many at once as there are workers."""

    def __init__(
        self, plan: Plan, study: optuna.Study, journal: Journal, runs: Runs, pool: Pool,
        shared: Shared | None
    ) -> None:
        self._plan, self._study, self._journal, self._shared = plan, study, journal, shared
        self._runs, self._pool = runs, pool
        self._free = deque(range(plan.workers))
        self._running: dict[int, tuple[Record, optuna.Trial, dict[str, Any]]] = {}
        self._ended: deque[tuple[Record, optuna.Trial]] = deque()  # and not yet recorded
        self._counts = Counter(record.state for record in journal.ended.values())
        self._best = best(plan, journal.ended.values())
        terminal = getattr(sys.stdout, "terminal", None)
        self._bar = tqdm(total=plan.trials, initial=len(journal.ended), unit="trial",
                         file=terminal, disable=terminal is None)

    def run(self, asked: Iterator[tuple[int, optuna.Trial]], ahead: bool) -> None:
        """Run the trials that are asked for, to the end of the last one.

        `ahead` says that one may be asked for, and its run made, before a worker is free for it.
        """
        started, following = self._started(asked), None
        while True:
            while self._free and (following := following or next(started, None)):
                self._give(self._free.popleft(), *following)
                following = None
            if ahead:
                following = following or next(started, None)
            if self._ended and (len(self._ended) > self._plan.workers or not self._pool.spoke()):
                self.record()
            elif self._running:
                for slot, message in self._pool.events(BEAT if self._shared else None):
                    self._hear(slot, message)
                self._beat()
            else:
                return

    def _started(
        self, asked: Iterator[tuple[int, optuna.Trial]]
    ) -> Iterator[tuple[Record, optuna.Trial]]:
        """Give each trial that is asked for its run and its folder."""
        for number, trial in asked:
            record = Record(number, trial.params)
            if self._runs.take(record):
                self._write_down(record)
                self._tell(record, trial)
                continue
            # What a trial left that was broken off is not of the one that is tried now.
            shutil.rmtree(self._journal.files(number), ignore_errors=True)
            self._journal.files(number).mkdir()
            self._runs.start(record)
            yield record, trial

    def _give(self, slot: int, record: Record, trial: optuna.Trial) -> None:
        """Give a trial to a free worker."""
        task = {"number": record.number, "folder": self._journal.files(record.number),
                "params": self._plan.space.values(record.point), "metrics": self._plan.metrics,
                "seed": (self._plan.seed + record.number) % 2**32,
                "environment": self._runs.environment(record)}
        self._running[slot] = record, trial, task
        self._beat()
        self._pool.send(slot, task)

    def _beat(self) -> None:
        if self._shared:
            self._shared.beat(trial for _, trial, _ in self._running.values())

    def _hear(self, slot: int, message: Any) -> None:
        """Answer a report, end a trial, or try the trial of a dead worker once more."""
        if slot not in self._running:  # a worker died that had nothing to do
            return
        record, trial, task = self._running[slot]
        match message:
            case (value, step):
                if step not in record.reports:
                    record.reports[step] = value
                    trial.report(value, step)
                self._pool.send(slot, trial.should_prune())
            case dict():
                self._end(slot, **message)
            case code if record.attempts == 1:
                record.attempts += 1
                self._pool.send(slot, task)
            case code:
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
                self._end(slot, FAILED, error=f"the worker process died twice, of {how}")

    @uninterrupted()
    def _end(self, slot: int, state: str, **came_out: Any) -> None:
        """Let a trial have ended, and its worker be free for the next one."""
        record, trial, _ = self._running.pop(slot)
        vars(record).update(came_out, state=state, ended=now())
        if state == PRUNED:
            record.values = list(record.reports.values())[-1:]
        self._free.append(slot)
        self._ended.append((record, trial))
        self._write_down(record)
        if not self._shared:
            self._tell(record, trial)

    def _tell(self, record: Record, trial: optuna.Trial) -> None:
        """Let the study know. A shared one knows last: until then, others may run the trial."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._study.tell(trial, record.values if record.state == FINISHED else None,
                             STATES[record.state])

    def _write_down(self, record: Record) -> None:
        """Let a trial have ended, and show it: in a terminal's one line, else in a line more."""
        self._journal.add(record)
        self._counts[record.state] += 1
        self._best = best(self._plan, [*self._best, record])
        self._bar.set_postfix_str(
            f"{len(self._running)} running, {self._counts[FAILED]} failed, {self._counts[PRUNED]}"
            f" pruned, best {', '.join(f'{value:.4g}' for value in self._best[0].values)}"
            if self._best else "", refresh=False)
        self._bar.update()
        if self._bar.disable:
            words = [f"{name} {value:.4g}" for name, value in record.metrics.items()]
            print(f"trial {record.number} {record.state} {' '.join(words)}".rstrip(),
                  f"({self._counts.total()}/{self._plan.trials})", flush=True)

    @uninterrupted()
    def record(self) -> None:
        """Log the trial that ended first of those that are not logged."""
        record, trial = self._ended[0]
        self._runs.end(record)
        if self._shared:
            self._tell(record, trial)
        self._ended.popleft()

    def close(self) -> None:
        """Log all that has ended."""
        self._bar.close()
        while self._ended:
            self.record()
