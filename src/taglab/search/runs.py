"""The MLflow runs of the trials, nested in the run of the search."""

import json
import shutil
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from taglab.names import LONGEST_PARAM, LONGEST_TAG
from taglab.search.journal import Journal, TrialRecord
from taglab.search.messages import FINISHED, PRUNED, Outcome, storable
from taglab.search.plan import Plan
from taglab.tracking.content import content_digest
from taglab.tracking.context import new_run_tags
from taglab.tracking.masking import mask_file, read_mask
from taglab.tracking.server_errors import is_away
from taglab.tracking.signals import uninterrupted
from taglab.tracking.store import sqlite_file
from taglab.tracking.summary import PARENT, find_runs


class TrialRuns:
    """One run for each trial, nested in `parent`.

    process: the index of this process where several share the search, else None.
    code: tells the training function, and all that it uses, from any other.
    skip_finished: look up trials that earlier searches finished with the same code.
    """

    def __init__(
        self, plan: Plan, journal: Journal, parent: Run, process: int | None, code: str,
        skip_finished: bool,
    ) -> None:
        self._client, self._plan, self._journal = mlflow.MlflowClient(), plan, journal
        self._experiment, self._parent = parent.info.experiment_id, parent.info.run_id
        experiment = self._client.get_experiment(self._experiment)
        self._name, self._rows = experiment.name, None
        if sqlite_file(uri := mlflow.get_tracking_uri()):
            from taglab.tracking.sqlalchemy_runs import row_writer  # imports SQLAlchemy

            self._rows = row_writer(uri, experiment)
        self._shared, self._code = process is not None, code
        self._tags = new_run_tags() | {"search": journal.identity, PARENT: self._parent}
        self._all = self._own = f"tags.search = '{journal.identity}' and tags.trial != ''"
        if self._shared:
            self._tags["search_process"] = str(process)
            self._own += f" and tags.search_process = '{process}'"
        self._interrupted: dict[int, str] = {}  # run ids by trial number
        self._mask = read_mask()
        finished = "attributes.status = 'FINISHED' and tags.trial_hash != ''"
        self._earlier = {run.data.tags["trial_hash"]: run for run in (
            find_runs(self._client, self._name, finished) if skip_finished else [])}

    def _find(self, condition: str) -> list[Run]:
        """Return the trials' runs that meet a condition, moved under the parent where need be.

        The runs of a search that was interrupted are still nested in its former parent.
        """
        found = find_runs(self._client, self._name, condition)
        for run in found:
            if run.data.tags[PARENT] != self._parent:
                self._client.set_tag(run.info.run_id, PARENT, self._parent)
        return found

    @uninterrupted()
    def reconcile(self) -> None:
        """Make MLflow agree with the journal: log trials that have ended, end interrupted runs."""
        for run in self._find(self._own):
            number, run_id = int(run.data.tags["trial"]), run.info.run_id
            if "job" in self._tags and run.info.status == FINISHED:  # logged by a pod that was lost
                record = TrialRecord.from_json(run.data.tags["record"])
                self._journal.ended.setdefault(number, record)
            ended = self._journal.ended.get(number)
            if ended is None:
                self._interrupted[number] = run_id
            if ended and ended.run_id == run_id:
                if run.info.end_time != ended.ended:
                    self.end(ended)
            elif run.info.status == "RUNNING":
                self._client.set_tag(run_id, "reason", "the search was interrupted")
                self._client.set_terminated(run_id, "KILLED")

    def all_ended(self) -> bool:
        """Read what other processes have logged; return whether every trial has ended."""
        for run in self._find(self._all):
            if run.info.status != "RUNNING" and "record" in run.data.tags:
                record = TrialRecord.from_json(run.data.tags["record"])
                known = self._journal.ended.setdefault(record.number, record)
                if known.state != FINISHED:
                    self._journal.ended[record.number] = record
        return len(self._journal.ended) >= self._plan.trials

    def find_finished(self, record: TrialRecord) -> TrialRecord | None:
        """Return the record of a trial that needs not run, as it has finished before, else None.

        In an earlier search; or in this one, in a process that died after it had logged the trial
        and before the others were told.
        """
        if record.attempts > 1:
            for run in self._find(f"{self._all} and tags.trial = '{record.number}'"):
                if run.info.status == FINISHED and "record" in run.data.tags:
                    return TrialRecord.from_json(run.data.tags["record"])
        earlier = self._earlier.get(self._hash(record))
        if earlier is None:
            return None
        metrics = earlier.data.metrics
        names = self._plan.metrics or (["value"] if "value" in metrics else list(metrics)[:1])
        if not names or not metrics.keys() >= set(names):
            return None
        finished = replace(record, run_id=earlier.info.run_id)
        tags = earlier.data.tags
        constraints = json.loads(tags["constraints"]) if "feasible" in tags else {}
        finished.end(Outcome(FINISHED, [metrics[name] for name in names], metrics,
                             constraints=constraints))
        return finished

    def _hash(self, record: TrialRecord) -> str:
        """Return a hash of the code, the data that the function holds and the parameters."""
        return content_digest(self._code, self._plan.params(record.point))

    def start(self, record: TrialRecord) -> None:
        """Start the trial's run, or resume it where it was interrupted, and empty its folder."""
        shutil.rmtree(self._journal.files(record.number), ignore_errors=True)
        self._journal.files(record.number).mkdir()
        if run_id := self._interrupted.pop(record.number, None):
            self._client.update_run(run_id, "RUNNING")
            self._client.set_tag(run_id, "reason", "the search was interrupted and resumed")
            record.run_id = run_id
            return
        params = self._plan.params(record.point)
        words = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                 for name, value in params.items())
        name = storable(f"{record.number} {' '.join(words)}"[:100])
        tags = self._tags | {"trial": str(record.number), "trial_hash": self._hash(record)}
        record.run_id = self._rows.create(name, tags) if self._rows else ""
        if not record.run_id:
            record.run_id = self._client.create_run(
                self._experiment, run_name=name, tags=tags).info.run_id

    def adopt(self, record: TrialRecord) -> None:
        """Take over the last run of a trial whose processes died; start one where there is none."""
        found = self._find(f"{self._all} and tags.trial = '{record.number}'")
        if not found:
            return self.start(record)
        record.run_id = found[-1].info.run_id
        for run in found[:-1]:
            if run.info.status == "RUNNING":
                self._client.set_tag(run.info.run_id, "reason", "its process died")
                self._client.set_terminated(run.info.run_id, "KILLED")

    def end(self, record: TrialRecord) -> None:
        """Log how a trial ended and end its run; doing so twice changes nothing.

        A trial with a value that MLflow refuses becomes one that failed.
        """
        try:
            self._log(record)
        except Exception as error:
            if record.refused or isinstance(error, MlflowException) and is_away(error):
                raise
            record.refuse(error)
            self._log(record)  # which fails where the store itself is in trouble
            self._journal.add(record)

    def _log(self, record: TrialRecord) -> None:
        folder = self._journal.files(record.number)
        folder.mkdir(exist_ok=True)
        record.error = self._mask(record.error.encode(errors="backslashreplace")).decode()
        if record.error:
            (folder / "traceback.txt").write_text(record.error, encoding="utf-8")
        params = {} if record.refused else {
            name: storable(str(value))[:LONGEST_PARAM]
            for name, value in self._plan.params(record.point).items()}
        metrics, tags = self._metrics_of(record), self._tags_of(record)
        log = folder / "output.log"
        if log.exists():
            mask_file(log, self._mask) if log.stat().st_size else log.unlink()
        if any(folder.iterdir()):
            self._log_files(record.run_id, folder)
        if not (self._rows and self._rows.end(
                record.run_id, metrics, params, tags, record.state, record.ended)):
            self._client.log_batch(record.run_id, metrics, [*starmap(Param, params.items())],
                                   [*starmap(RunTag, tags.items())])
            self._client.set_terminated(record.run_id, record.state, record.ended)
        shutil.rmtree(folder)

    def _log_files(self, run_id: str, folder: Path) -> None:
        if self._rows:  # the client would look up the run first, ten times as long as this takes
            artifacts: Any = get_artifact_repository(self._rows.artifact_uri(run_id))
            artifacts.log_artifacts(str(folder))
        else:
            self._client.log_artifacts(run_id, str(folder))

    def _tags_of(self, record: TrialRecord) -> dict[str, str]:
        """Return the tags that say how a trial ended."""
        tags = {}
        if self._shared:  # process 0 reads it
            line = record.to_json(error=record.error[-2000:])
            tags["record"] = (line if len(line) <= LONGEST_TAG else
                              record.to_json(reports={}, error=""))
        if record.constraints:
            tags["constraints"] = json.dumps(record.constraints)
            tags["feasible"] = str(record.can_be_best).lower()
        if record.attempts > 1:
            tags["attempts"] = str(record.attempts)
        if record.state == PRUNED:
            tags["reason"] = f"pruned after step {max(record.reports, default=0)}"
        if record.error:
            tags["error"] = record.error.splitlines()[-1]
        return tags

    def _metrics_of(self, record: TrialRecord) -> list[Metric]:
        """Return what a trial reported, by step, and its final metrics at the last step."""
        reported = (self._plan.metrics or [*record.metrics, "value"])[0]
        last = max(record.reports, default=0)
        return [] if record.refused else [
                *(Metric(reported, value, record.ended - 1, step)
                  for step, value in record.reports.items()),
                *(Metric(name, value, record.ended, last)
                  for name, value in record.metrics.items())]
