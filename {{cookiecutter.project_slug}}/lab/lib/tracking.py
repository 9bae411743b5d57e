"""Where results go, and what is known about every run. `main.py` logs with plain `mlflow`.

    python -m lib.tracking summary|kill|ui
"""

import atexit
import contextlib
import gc
import json
import logging
import os
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import store
from .capture import captured
from .cluster import run_of_pod, run_wide
from .config import flatten
from .provenance import pinned, run_tags, uncommitted_patch, versions
from .signals import Interrupted, interruptible
from .store import LAB


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not look for garbage among what is imported here: it stays, and there is much of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


# MLflow reads these while it is imported, so a process imports this module before mlflow.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_DISABLE_AGENT_HINT", "true")
with without_garbage_collection():
    import mlflow
# At exit too, Python would look through all of it, for half a second.
atexit.register(gc.freeze)

__all__ = ["connect", "experiment_name", "open_store", "pinned", "start_run", "tracking_uri"]

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


class NoServer(SystemExit):
    """The tracking server does not answer; the message says what to do."""


def tracking_uri(environment: Mapping[str, str] = os.environ) -> str:
    """Return where results go: the environment's address, else the lab's own SQLite file."""
    uri = environment.get("MLFLOW_TRACKING_URI") or environment.get("MLFLOW_URL")
    database = store.sqlite_file(uri) if uri else LAB / "mlflow.db"
    return store.sqlite_uri(database) if database else uri


def experiment_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the MLflow experiment: the environment's, else the lab's name."""
    name = environment.get("MLFLOW_EXPERIMENT_NAME") or environment.get("MLFLOW_EXPERIMENT")
    project = (LAB / "pyproject.toml").read_text(encoding="utf-8")
    return name or tomllib.loads(project)["project"]["name"]


def connect() -> str:
    """Point MLflow at the lab's store and experiment, made if need be, and return the address.

    A notebook calls it once; a process need not, since `start_run` does.
    """
    uri, name = tracking_uri(), experiment_name()
    # With MLflow's own numbers a server that is away stops a training loop for four minutes. The
    # pods of a job start all at once: a server that lets them wait is busy, not away.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # lib.outbox tries again
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60" if "JOB_NAME" in os.environ else "5")
    if uri.startswith("http"):
        check_server(uri)
    for flavor in ("mlflow.sklearn", "mlflow.pytorch"):
        logging.getLogger(flavor).addFilter(_is_not_about_pickle)
    with without_garbage_collection():
        if database := store.sqlite_file(uri):
            store.prepare(database)
            store.commit_quickly()
        mlflow.set_tracking_uri(uri)
        if database and mlflow.get_experiment_by_name(name) is None:
            with store.locked(database):
                if mlflow.get_experiment_by_name(name) is None:
                    mlflow.create_experiment(name, store.artifact_root(database))
        mlflow.set_experiment(name)
    return uri


def check_server(uri: str) -> None:
    """Raise NoServer when no server answers at an address: better now than after training."""
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health",
                     timeout=float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", 5)))
    except requests.RequestException as error:
        raise NoServer(f"error: no MLflow server answers at {uri} ({error}). Start it, or name "
                       "another one in MLFLOW_TRACKING_URI") from None


def open_store() -> mlflow.MlflowClient | None:
    """Return the client of the lab's store, or None when nothing was ever stored in it."""
    uri = tracking_uri()
    database = store.sqlite_file(uri)
    if database and not database.exists():
        return None
    if database:
        store.prepare(database)
    return mlflow.MlflowClient(uri)


@contextlib.contextmanager
def start_run(
    main_file: str | Path, config: Mapping[str, Any], run_name: str | None = None
) -> Iterator[mlflow.ActiveRun]:
    """Run the body as one MLflow run of the process whose folder holds `main_file`.

    The run, and those nested in it with `mlflow.start_run(nested=True)`, carry where they come
    from as tags; the run holds `config` as parameters, versions.txt, uncommitted.patch when
    there is one, and output.log. It ends FINISHED, FAILED or KILLED, as the body does.
    """
    process = Path(main_file).resolve().parent.name
    tags = run_tags(LAB, process, config)
    if os.environ.get("RANK", "0") != "0":
        with _unrecorded(tags) as run:
            yield run
        return
    uri = connect()
    with interruptible():
        status = run_wide(main_file, config)
    if status is not None:  # the pods of a job did the work
        raise SystemExit(status)
    with (tempfile.TemporaryDirectory() as folder, _patient(uri), _tags_of_every_run(tags),
          _statuses(), interruptible() as ignore_signals):
        run = mlflow.start_run(run_name=run_name or process, **run_of_pod(tags))
        log, status = Path(folder, "output.log"), FAILED
        try:
            with captured(log):
                _log_origin(config, tags)
                yield run
            status = FINISHED
        except BaseException as error:
            status = ending(error)
            if status != FINISHED:
                log.open("a").write("".join(traceback.format_exception(error)))
            raise
        finally:
            ignore_signals()
            _end(run, status, log)


def _patient(uri: str) -> contextlib.AbstractContextManager[None]:
    """Let results wait while their server is away, where there is one."""
    if not uri.startswith("http"):
        return contextlib.nullcontext()
    from .patient_store import patient

    try:
        state = store.state_folder()
    except ValueError:
        state = Path(tempfile.gettempdir())
    return patient(uri, state / "outbox" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")


@contextlib.contextmanager
def _unrecorded(tags: Mapping[str, str]) -> Iterator[mlflow.ActiveRun]:
    """Throw away what the body logs and prints: of torchrun's processes the first one records."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    with (tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere,
          contextlib.redirect_stdout(nowhere), _tags_of_every_run(tags)):
        logging.disable(logging.WARNING)
        mlflow.set_tracking_uri(Path(folder, "store").as_uri())
        with mlflow.start_run() as run:
            yield run


def ending(error: BaseException) -> str:
    """Return the status of a run whose body was left by `error`."""
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        return KILLED
    return FINISHED if isinstance(error, SystemExit) and error.code in (None, 0) else FAILED


def _log_origin(config: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Log the parameters, the versions and what was not committed to the active run."""
    mlflow.log_params(flatten(config))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "versions.txt").write_text(versions(), encoding="utf-8")
        if tags.get("dirty") == "true":
            Path(folder, "uncommitted.patch").write_bytes(uncommitted_patch(LAB))
        mlflow.log_artifacts(folder)


def _end(run: mlflow.ActiveRun, status: str, log: Path) -> None:
    """End a run and what is still open inside it; a store that is away is only reported."""
    run_id = run.info.run_id
    try:
        while (active := mlflow.active_run()) and active.info.run_id != run_id:
            mlflow.end_run(status)
        mlflow.log_artifact(str(log), run_id=run_id)
    except Exception as error:
        print(f"warning: output.log of run {run_id} was not stored: {error}", file=sys.stderr)
    finally:
        if mlflow.active_run():
            mlflow.end_run(status)
        else:  # the body ended it
            mlflow.MlflowClient().set_terminated(run_id, status)


@contextlib.contextmanager
def _tags_of_every_run(tags: Mapping[str, str]) -> Iterator[None]:
    """Let MLflow put `tags` on each run that starts here, nested ones included."""
    name = "MLFLOW_RUN_CONTEXT"
    before = os.environ.get(name)
    os.environ[name] = json.dumps({**json.loads(before or "{}"), **tags})
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _statuses() -> Iterator[None]:
    """Give nested runs their right status: MLflow's `with` knows only FINISHED and FAILED."""
    plain = mlflow.ActiveRun.__exit__

    def leave(run: mlflow.ActiveRun, kind: Any, error: Any, trace: Any) -> bool:
        done = plain(run, kind, error, trace)
        if error is not None and ending(error) != FAILED:
            mlflow.MlflowClient().set_terminated(run.info.run_id, ending(error))
        return done

    mlflow.ActiveRun.__exit__ = leave
    try:
        yield
    finally:
        mlflow.ActiveRun.__exit__ = plain


def _is_not_about_pickle(record: logging.LogRecord) -> bool:
    """Drop MLflow's warning that a pickled model runs code when loaded: it is the lab's own."""
    return "execute arbitrary code" not in record.getMessage()


if __name__ == "__main__":
    from .command import main

    sys.exit(main(sys.argv[1:]))
