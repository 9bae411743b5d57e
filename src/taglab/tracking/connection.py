"""Where results go: a tracking server or a SQLite file, and the experiment in it."""

import contextlib
import logging
import os
import tomllib
from collections.abc import Iterator, Mapping

from taglab.cluster.manifest import JOB_NAME
from taglab.lab import lab_root
from taglab.tracking.context import set_variable
from taglab.tracking.quick_mlflow import mlflow, without_garbage_collection
from taglab.tracking import store


class NoServer(SystemExit):
    """The tracking server cannot be used; the message says why and what to do."""


def tracking_uri(environment: Mapping[str, str] = os.environ) -> str:
    """Return where results go: the environment's address, else the lab's own SQLite file.

    Raises NoLab when neither is there.
    """
    uri = environment.get("MLFLOW_TRACKING_URI") or environment.get("MLFLOW_URL")
    if not uri:
        return store.sqlite_uri(lab_root(environment=environment) / "mlflow.db")
    database = store.sqlite_file(uri)
    return store.sqlite_uri(database) if database else uri


def experiment_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the MLflow experiment: the one that the environment names, else the lab's name.

    Raises NoLab when neither is there.
    """
    if name := environment.get("MLFLOW_EXPERIMENT_NAME") or environment.get("MLFLOW_EXPERIMENT"):
        return name
    project = lab_root(environment=environment) / "pyproject.toml"
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"])


def connect() -> str:
    """Point MLflow at the lab's store and experiment, create them if need be, return the address.

    A notebook calls it once; a process need not, since `start_run` does. Raises NoServer,
    WrongSchema or NoLab.
    """
    uri, name = tracking_uri(), experiment_name()
    for setting, value in _short_waits().items():
        os.environ.setdefault(setting, value)
    if uri.startswith("http"):
        check_server(uri)
    for flavor in ("mlflow.sklearn", "mlflow.pytorch"):
        logging.getLogger(flavor).addFilter(_is_not_about_pickle)
    database = store.sqlite_file(uri)
    with without_garbage_collection(), store.full_disk_named(database):
        if database:
            store.prepare(database)
            store.commit_quickly()
        mlflow.set_tracking_uri(uri)
        if database and mlflow.get_experiment_by_name(name) is None:
            with store.locked(database):
                if mlflow.get_experiment_by_name(name) is None:
                    mlflow.create_experiment(name, store.artifact_root(database))
        with _explained(uri):
            mlflow.set_experiment(name)
    return uri


def check_server(uri: str) -> None:
    """Raise NoServer when no server answers MLflow's requests at an address: better now than after
    training.
    """
    with contextlib.ExitStack() as stack:
        for setting, value in _short_waits().items():
            stack.enter_context(set_variable(setting, os.environ.get(setting, value)))
        stack.enter_context(_explained(uri))
        mlflow.MlflowClient(uri).get_experiment_by_name(experiment_name())


def _short_waits() -> dict[str, str]:
    """Return settings of MLflow, whose defaults stop a training for minutes without its server.

    The pods of a job all start at once: a server that keeps them waiting is busy, not away.
    """
    return {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the outbox tries again
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "60" if JOB_NAME in os.environ else "5"}


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Raise NoServer where the body fails since a server cannot be used."""
    from mlflow.exceptions import MlflowException
    from taglab.tracking.server_errors import is_away, unusable

    try:
        yield
    except MlflowException as error:
        if not uri.startswith("http") or not is_away(error):
            raise
        raise NoServer(unusable(uri, error)) from None


def open_store() -> mlflow.MlflowClient | None:
    """Return a client of the lab's store, or None when nothing was ever stored in it.

    Raises NoServer, WrongSchema or NoLab.
    """
    uri = tracking_uri()
    if uri.startswith("http"):
        check_server(uri)
    if database := store.sqlite_file(uri):
        if not database.exists():
            return None
        store.prepare(database)
    return mlflow.MlflowClient(uri)


def _is_not_about_pickle(record: logging.LogRecord) -> bool:
    """Drop MLflow's warning that loading a pickled model runs code: the model is the lab's own."""
    return "execute arbitrary code" not in record.getMessage()
