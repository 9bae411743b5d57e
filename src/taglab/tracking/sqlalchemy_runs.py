"""Rows of runs, written straight to the lab's own SQLite file, as MLflow's client would write them.

The client looks up the experiment, the run and what the run has before each write, in 36 statements
and 6 transactions for a run; here its start is one transaction, and its end another. Only the plain
case is written: what MLflow may refuse, shorten or find there already is left to the client, and so
is everything where the schema is another one or LAB_PLAIN_RECORDING is 1.

This module uses what MLflow does not document, checked with MLflow 3.17.2: `_get_store`,
which gives the `SqlAlchemyStore` of a file; the tables of `SqlRun`, `SqlTag`, `SqlParam`,
`SqlMetric` and `SqlLatestMetric`; `append_to_uri_path`. The name of this module has `sqlalchemy` in
it, so that signals wait for its writes (`taglab.tracking.signals`).
"""

import math
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
from mlflow.entities import Experiment, Metric
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Table, Update, insert, update

from taglab.names import LONGEST_PARAM, LONGEST_TAG, is_accepted

SCHEMA = "dc11669786a5"  # the revision of the tables that this module was checked with
PLAIN = "LAB_PLAIN_RECORDING"
RUNS, TAGS, PARAMS, METRICS, LATEST = (
    model.__table__ for model in (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric))
SETTINGS = ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 20000")  # of MLflow's sessions
LARGEST = 1.7976931348623157e308  # what MLflow stores for infinity
Row = dict[str, Any]


class RunRows:
    """Writes the runs of one experiment, where the client need not."""

    def __init__(self, store: SqlAlchemyStore, experiment: Experiment) -> None:
        self._engine, self._experiment = store.engine, experiment

    @property
    def can_write(self) -> bool:
        """Whether the tables are those that this module knows."""
        # MLflow opens no file with a schema other than its own, so this is that of MLflow, too.
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return bool(found == SCHEMA)

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run that is running; return its id, or "" where the client has to."""
        run_id = uuid.uuid4().hex
        run = {"run_uuid": run_id, "name": name, "artifact_uri": self.artifact_uri(run_id),
               "experiment_id": int(self._experiment.experiment_id), "status": "RUNNING",
               "user_id": tags.get("mlflow.user", "unknown"), "lifecycle_stage": "active",
               "start_time": int(time.time() * 1000), "source_type": "UNKNOWN",
               "source_name": "", "source_version": "", "entry_point_name": ""}
        texts = _rows(run_id, [*tags.items(), ("mlflow.runName", name)])
        return run_id if self._write({RUNS: [run], TAGS: texts}) else ""

    def end(self, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str],
            tags: Mapping[str, str], status: str, end_time: int) -> bool:
        """Log all that to a run and end it; return False where the client has to."""
        names = [*(each.key for each in metrics), *params, *tags]
        if mlflow.get_active_model_id() or not (
                all(map(is_accepted, names))
                and all(len(value) <= LONGEST_PARAM for value in params.values())
                and all(len(value) <= LONGEST_TAG for value in tags.values())):
            return False
        rows = [_metric_row(run_id, each) for each in metrics]
        latest = {row["key"]: row for row in sorted(
            rows, key=lambda row: (row["step"], row["timestamp"], row["value"]))}
        ended = update(RUNS).values(status=status, end_time=end_time).where(
            RUNS.c.run_uuid == run_id, RUNS.c.lifecycle_stage == "active")
        return self._write({
            PARAMS: _rows(run_id, params.items()), METRICS: rows, LATEST: [*latest.values()],
            TAGS: _rows(run_id, tags.items())}, ended)

    def artifact_uri(self, run_id: str) -> str:
        """Return where the artifacts of a run are."""
        location = self._experiment.artifact_location
        uri: str = append_to_uri_path(  # type: ignore[no-untyped-call]  # MLflow's
            location, run_id, "artifacts")
        return uri

    def _write(self, tables: Mapping[Table, list[Row]], ended: Update | None = None) -> bool:
        """Write rows, and the end of a run, in one transaction; return False if none is written."""
        try:
            with self._engine.begin() as connection:
                for setting in SETTINGS:
                    connection.exec_driver_sql(setting)
                # A write comes first: a transaction that has read could not wait for the lock.
                if ended is not None and connection.execute(ended).rowcount != 1:
                    return False
                for table, rows in tables.items():
                    if rows:
                        connection.execute(insert(table), rows)
        except Exception:  # a key is there already, or the disk is full, say: the client says what
            return False
        return True


def row_writer(uri: str, experiment: Experiment) -> RunRows | None:
    """Return what writes runs of an experiment to the store at `uri`; None for the client."""
    store = _get_store(uri)  # type: ignore[no-untyped-call]  # MLflow's
    if (os.environ.get(PLAIN) == "1" or type(store) is not SqlAlchemyStore
            or store.engine.dialect.name != "sqlite"):
        return None
    rows = RunRows(store, experiment)
    return rows if rows.can_write else None


def _rows(run_id: str, pairs: Iterable[tuple[str, str]]) -> list[Row]:
    return [{"run_uuid": run_id, "key": key, "value": value} for key, value in pairs]


def _metric_row(run_id: str, metric: Metric) -> Row:
    is_nan = math.isnan(metric.value)
    value = 0.0 if is_nan else min(max(metric.value, -LARGEST), LARGEST)
    return {"run_uuid": run_id, "key": metric.key, "value": value, "is_nan": is_nan,
            "timestamp": metric.timestamp, "step": metric.step}
