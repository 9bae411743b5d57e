"""The nested MLflow runs of a search."""

import contextlib
import hashlib
import inspect
import json
import pickle
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking.context.registry import resolve_tags

from ..summary import PARENT, find_runs
from .cluster import Place
from .journal import Journal, Record, now
from .plan import Plan
from .worker import FINISHED, PRUNED, name_of

LONGEST_TAG, LONGEST_PARAM, LARGEST_BATCH = 8000, 6000, 800  # MLflow takes no more


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait that would leave a write half done: SQLite stays locked by its other half.

    Only those that something in Python handles; the first one that came is handled at the end.
    """
    came: list[tuple[int, Any]] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, lambda *signal: came.append(signal))
                  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                  if callable(signal.getsignal(number))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in came[:1]:
            before[number](number, frame)


class Runs:
    """One run for each trial, nested in the run that is active when the search starts."""

    @uninterrupted()
    def __init__(
        self, plan: Plan, journal: Journal, parent: Run, place: Place | None, skip: bool
    ) -> None:
        self._client, self._plan, self._journal = mlflow.MlflowClient(), plan, journal
        self._experiment, self.parent = parent.info.experiment_id, parent.info.run_id
        self._name = self._client.get_experiment(self._experiment).name
        self._tags = resolve_tags() | {"search": journal.identity, PARENT: self.parent}
        self._place, self._function = place, fingerprint(plan.train)
        if place:
            self._tags["search_process"] = str(place.index)
        if not (place and place.index):  # the others look for the run that has this tag
            self._client.set_tag(self.parent, "search", journal.identity)
        self._broken_off: dict[int, str] = {}
        finished = "attributes.status = 'FINISHED' and tags.trial_hash != ''"
        self._earlier = {run.data.tags["trial_hash"]: run for run in (
            find_runs(self._client, self._name, finished) if skip else [])}

    def found(self, everywhere: bool = False) -> list[Run]:
        """Return the runs of this search's trials, those of this process or of all."""
        condition = f"tags.search = '{self._journal.identity}'"
        if self._place and not everywhere:
            condition += f" and tags.search_process = '{self._place.index}'"
        return [run for run in find_runs(self._client, self._name, condition)
                if "trial" in run.data.tags]

    @uninterrupted()
    def resume(self) -> None:
        """Bring MLflow to what the journal says of a search that was broken off."""
        for run in self.found():
            record = self._journal.ended.get(int(run.data.tags["trial"]))
            self._client.set_tag(run.info.run_id, PARENT, self.parent)
            if record is None:
                self._broken_off[int(run.data.tags["trial"])] = run.info.run_id
            elif run.info.status == "RUNNING":
                self.end(record)

    @uninterrupted()
    def complete(self) -> bool:
        """Take in what other processes recorded; return whether no trial is missing any more."""
        for run in self.found(everywhere=True):
            if run.data.tags[PARENT] != self.parent:
                self._client.set_tag(run.info.run_id, PARENT, self.parent)
            if run.info.status != "RUNNING" and "record" in run.data.tags:
                record = Record.read(run.data.tags["record"])
                known = self._journal.ended.setdefault(record.number, record)
                if known.state != FINISHED:
                    self._journal.ended[record.number] = record
        return len(self._journal.ended) >= self._plan.trials

    def take(self, record: Record) -> bool:
        """Return whether an earlier search finished this trial; if so, take what came out."""
        run = self._earlier.get(self._hash(record))
        metrics = run.data.metrics if run else {}
        names = self._plan.metrics or (["value"] if "value" in metrics else list(metrics)[:1])
        if run is None or not metrics.keys() >= set(names):
            return False
        vars(record).update(run_id=run.info.run_id, state=FINISHED, metrics=metrics,
                            values=[metrics[name] for name in names], ended=now())
        return True

    def _hash(self, record: Record) -> str:
        """Return what is the same for the same function, what it holds and its parameters."""
        params = json.dumps(self._plan.space.values(record.point), sort_keys=True, default=repr)
        return digest(self._function, params)

    def environment(self, record: Record) -> dict[str, str]:
        """Return what lets plain `mlflow` calls of a trial log to its run."""
        return {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "MLFLOW_RUN_ID": record.run_id}

    @uninterrupted()
    def start(self, record: Record) -> None:
        """Give a trial its run; one that was broken off goes on in the run that it had."""
        if run_id := self._broken_off.pop(record.number, None):
            self._client.update_run(run_id, "RUNNING")
        else:
            params = self._plan.space.values(record.point)
            words = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in params.items())
            run_id = self._client.create_run(
                self._experiment, run_name=f"{record.number} {' '.join(words)}"[:100],
                tags=self._tags | {"trial": str(record.number), "trial_hash": self._hash(record)}
            ).info.run_id
        record.run_id = run_id

    @uninterrupted()
    def end(self, record: Record) -> None:
        """Log how a trial ended; to do it twice changes nothing."""
        folder = self._journal.files(record.number)
        folder.mkdir(exist_ok=True)
        tags = {}
        if self._place:  # for process 0
            line = record.line(error=record.error[-2000:])
            tags["record"] = line if len(line) <= LONGEST_TAG else record.line(reports={}, error="")
        if record.attempts > 1:
            tags["attempts"] = str(record.attempts)
        if record.state == PRUNED:
            tags["reason"] = f"pruned after step {max(record.reports, default=0)}"
        if record.error:
            tags["error"] = record.error.splitlines()[-1]
            (folder / "traceback.txt").write_text(record.error, encoding="utf-8")
        self._log(record, tags)
        log = folder / "output.log"
        if log.exists() and not log.stat().st_size:
            log.unlink()
        if any(folder.iterdir()):
            self._client.log_artifacts(record.run_id, str(folder))
        self._client.set_terminated(record.run_id, record.state, record.ended)
        shutil.rmtree(folder)

    def _log(self, record: Record, tags: dict[str, str]) -> None:
        """Log parameters, metrics and tags in as few batches as MLflow allows."""
        name = (self._plan.metrics or [*record.metrics, "value"])[0]
        last = max(record.reports, default=0)
        metrics = [Metric(name, value, record.ended - 1, step)
                   for step, value in record.reports.items()]
        metrics += [Metric(name, value, record.ended, last)
                    for name, value in record.metrics.items()]
        params = [Param(name, str(value)[:LONGEST_PARAM])
                  for name, value in self._plan.space.values(record.point).items()]
        for first in range(0, len(metrics) or 1, LARGEST_BATCH):
            self._client.log_batch(
                record.run_id, metrics[first:first + LARGEST_BATCH], [] if first else params,
                [] if first else [RunTag(*tag) for tag in tags.items()])

    @uninterrupted()
    def log_parent(self, params: dict[str, Any], metrics: dict[str, float]) -> None:
        """Log to the parent; a parameter that its process logged under this name stays."""
        logged = self._client.get_run(self.parent).data.params
        new = [Param(f"search.{name}", str(value)[:500]) for name, value in params.items()
               if f"search.{name}" not in logged]
        for first in range(0, len(new) or 1, 100):
            self._client.log_batch(self.parent, params=new[first:first + 100], metrics=[
                Metric(name, value, now(), 0) for name, value in metrics.items()])

    @uninterrupted()
    def break_off(self) -> None:
        """End the runs of trials that did not end; the search may go on with them later."""
        for run in self.found():
            if run.info.status == "RUNNING":
                self._client.set_tag(run.info.run_id, "reason", "the search was broken off")
                self._client.set_terminated(run.info.run_id, "KILLED")


def fingerprint(train: Callable[..., Any]) -> str:
    """Return what tells a function from others: its name, its source and the data it holds."""
    function = getattr(train, "func", train)
    held = [getattr(train, "args", ()), getattr(train, "keywords", {})]
    source = ""
    with contextlib.suppress(OSError, TypeError):
        source = inspect.getsource(function)
        held.append(inspect.getclosurevars(function).nonlocals)
    try:
        data = pickle.dumps(held)
    except Exception:  # it holds what has no fixed form, such as another function
        data = repr(held)
    return digest(name_of(train), source, data)


def digest(*known: Any) -> str:
    """Return 16 hex digits for texts and other things, wherever these are in memory."""
    return hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(known)).encode()).hexdigest()[:16]
