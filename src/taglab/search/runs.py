"""What is known of the trials of a search: in a journal that outlives it, and in MLflow."""

import fcntl
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
import optuna
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking.context.registry import resolve_tags
from optuna.trial import FrozenTrial, TrialState

from taglab.search.plan import Plan, Point, SearchError
from taglab.search.worker import FAILED, FINISHED, PRUNED
from taglab.tracking.provenance import digest, fingerprint
from taglab.tracking.signals import uninterrupted
from taglab.tracking.summary import PARENT, find_runs

STATES = {FINISHED: TrialState.COMPLETE, FAILED: TrialState.FAIL, PRUNED: TrialState.PRUNED}
LONGEST_TAG, LONGEST_PARAM = 8000, 6000  # MLflow takes no more


@dataclass
class Record:
    """One trial: what it tries and, once it has ended, what came out."""

    number: int
    point: Point
    run_id: str = ""
    state: str = "RUNNING"
    values: list[float] = field(default_factory=list)  # of the metrics to optimise
    metrics: dict[str, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)  # by step
    error: str = ""  # the traceback
    attempts: int = 1
    ended: int = 0

    @classmethod
    def read(cls, line: str | bytes) -> "Record":
        """Return the record that a line of JSON holds."""
        record = cls(**json.loads(line))
        record.reports = {int(step): value for step, value in record.reports.items()}
        return record

    def line(self, **changes: Any) -> str:
        """Return the record as a line of JSON."""
        return json.dumps(vars(self) | changes)

    def as_trial(self, plan: Plan) -> FrozenTrial:
        """Return what Optuna's samplers and pruners need to know of a trial that has ended."""
        return optuna.create_trial(
            state=STATES[self.state], values=self.values if self.state == FINISHED else None,
            params={name: self.point[name] for name in plan.asked}, distributions=plan.asked,
            intermediate_values=self.reports, user_attrs={"number": self.number})


class Journal:
    """What is known of an unfinished search, in a folder: a line for each trial that has ended.

    One process at a time has it; a second is refused. A line that is there is never lost, so a
    trial has ended when its line is written, and not before.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"this search runs already, {folder} is in use; wait for its end, or"
                              f" give this one a name of its own: search(…, name=…)") from None
        self._file = open(folder / "trials.jsonl", "a+b")
        self._file.seek(0)
        # Its writer may have been killed in the middle of the last line.
        lines = [line for line in self._file if line.endswith(b"\n")]
        self._file.truncate(sum(map(len, lines)))
        if not lines:
            lines = [json.dumps(identity).encode()]
            self._write(lines[0])
        self.identity: str = json.loads(lines[0])
        self.ended = {record.number: record for record in map(Record.read, lines[1:])}

    def add(self, record: Record) -> None:
        """Write down that a trial has ended."""
        self._write(record.line().encode())
        self.ended[record.number] = record

    def _write(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def files(self, number: int) -> Path:
        """Return the folder of a trial's files, which are there until its run has them."""
        return self.folder / str(number)

    def forget(self) -> None:
        """Remove all that is known: the search is finished, the same one starts anew."""
        (self.folder / "trials.jsonl").unlink()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Let others have the folder."""
        self._file.close()
        os.close(self._lock)


class Runs:
    """One run for each trial, nested in the run that is active when the search starts.

    `process` is the number of this process where several share the search, else None.
    """

    def __init__(
        self, plan: Plan, journal: Journal, parent: Run, process: int | None, skip_finished: bool
    ) -> None:
        self._client, self._plan, self._journal = mlflow.MlflowClient(), plan, journal
        self._experiment, self.parent = parent.info.experiment_id, parent.info.run_id
        self._name = self._client.get_experiment(self._experiment).name
        self._shared, self._function = process is not None, fingerprint(plan.train)
        self._tags = resolve_tags() | {"search": journal.identity, PARENT: self.parent}
        self._all = self._mine = f"tags.search = '{journal.identity}' and tags.trial != ''"
        if self._shared:
            self._tags["search_process"] = str(process)
            self._mine += f" and tags.search_process = '{process}'"
        self._broken_off: dict[int, str] = {}
        finished = "attributes.status = 'FINISHED' and tags.trial_hash != ''"
        self._earlier = {run.data.tags["trial_hash"]: run for run in (
            find_runs(self._client, self._name, finished) if skip_finished else [])}

    def _trials(self, condition: str) -> list[Run]:
        """Return the runs of trials, nested in the parent of today wherever they began."""
        found = find_runs(self._client, self._name, condition)
        for run in found:
            if run.data.tags[PARENT] != self.parent:
                self._client.set_tag(run.info.run_id, PARENT, self.parent)
        return found

    @uninterrupted()
    def settle(self) -> None:
        """Bring MLflow to what the journal says: log what has ended, end what was broken off."""
        for run in self._trials(self._mine):
            number, run_id = int(run.data.tags["trial"]), run.info.run_id
            if "job" in self._tags and run.info.status == FINISHED:  # by a pod that was lost
                self._journal.ended.setdefault(number, Record.read(run.data.tags["record"]))
            record = self._journal.ended.get(number)
            if record is None:
                self._broken_off[number] = run_id
            if record and record.run_id == run_id:
                if run.info.end_time != record.ended:
                    self.end(record)
            elif run.info.status == "RUNNING":
                self._client.set_tag(run_id, "reason", "the search was broken off")
                self._client.set_terminated(run_id, "KILLED")

    def complete(self) -> bool:
        """Take in what other processes recorded; return whether no trial is missing any more."""
        for run in self._trials(self._all):
            if run.info.status != "RUNNING" and "record" in run.data.tags:
                record = Record.read(run.data.tags["record"])
                known = self._journal.ended.setdefault(record.number, record)
                if known.state != FINISHED:
                    self._journal.ended[record.number] = record
        return len(self._journal.ended) >= self._plan.trials

    def earlier(self, record: Record) -> dict[str, Any]:
        """Return what came out of a trial that has finished: in an earlier search, or in this one.

        A process that died may have logged what the others had not heard of yet.
        """
        if record.attempts > 1:
            for run in self._trials(f"{self._all} and tags.trial = '{record.number}'"):
                if run.info.status == FINISHED and "record" in run.data.tags:
                    return vars(Record.read(run.data.tags["record"]))
        run = self._earlier.get(self._hash(record))
        metrics = run.data.metrics if run else {}
        names = self._plan.metrics or (["value"] if "value" in metrics else list(metrics)[:1])
        if not names or not metrics.keys() >= set(names):
            return {}
        return {"run_id": run.info.run_id, "state": FINISHED, "metrics": metrics,
                "values": [metrics[name] for name in names]}

    def _hash(self, record: Record) -> str:
        """Return what is the same for the same function, what it holds and its parameters."""
        params = json.dumps(self._plan.params(record.point), sort_keys=True, default=repr)
        return digest(self._function, params)

    def start(self, record: Record) -> None:
        """Give a trial its run and its folder; it goes on in a run that was broken off."""
        # What a trial left that was broken off is not of the one that is tried now.
        shutil.rmtree(self._journal.files(record.number), ignore_errors=True)
        self._journal.files(record.number).mkdir()
        if run_id := self._broken_off.pop(record.number, None):
            self._client.update_run(run_id, "RUNNING")
            self._client.set_tag(run_id, "reason", "the search was broken off and went on")
        else:
            params = self._plan.params(record.point)
            words = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in params.items())
            run_id = self._client.create_run(
                self._experiment, run_name=f"{record.number} {' '.join(words)}"[:100],
                tags=self._tags | {"trial": str(record.number), "trial_hash": self._hash(record)}
            ).info.run_id
        record.run_id = run_id

    def end(self, record: Record) -> None:
        """Log how a trial ended; to do it twice changes nothing."""
        folder = self._journal.files(record.number)
        folder.mkdir(exist_ok=True)
        tags = {}
        if self._shared:  # for process 0
            line = record.line(error=record.error[-2000:])
            tags["record"] = line if len(line) <= LONGEST_TAG else record.line(reports={}, error="")
        if record.attempts > 1:
            tags["attempts"] = str(record.attempts)
        last = max(record.reports, default=0)
        if record.state == PRUNED:
            tags["reason"] = f"pruned after step {last}"
        if record.error:
            tags["error"] = record.error.splitlines()[-1]
            (folder / "traceback.txt").write_text(record.error, encoding="utf-8")
        reported = (self._plan.metrics or [*record.metrics, "value"])[0]
        metrics = [Metric(reported, value, record.ended - 1, step)
                   for step, value in record.reports.items()]
        metrics += [Metric(name, value, record.ended, last)
                    for name, value in record.metrics.items()]
        params = [Param(name, str(value)[:LONGEST_PARAM])
                  for name, value in self._plan.params(record.point).items()]
        self._client.log_batch(record.run_id, metrics, params,
                               [RunTag(*tag) for tag in tags.items()])
        log = folder / "output.log"
        if log.exists() and not log.stat().st_size:
            log.unlink()
        if any(folder.iterdir()):
            self._client.log_artifacts(record.run_id, str(folder))
        self._client.set_terminated(record.run_id, record.state, record.ended)
        shutil.rmtree(folder)
