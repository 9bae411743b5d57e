"""`start_run`: one MLflow run of a process, with what is known about it.

This module uses what MLflow does not document, checked with MLflow 3.17.2: it replaces
`ActiveRun.__exit__`.
"""

import contextlib
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taglab.cluster import run_of_pod, run_wide
from taglab.cluster.manifest import JOB_NAME
from taglab.config import flatten
from taglab.lab import lab_root, state_folder
from taglab.running import marked
from taglab.tag_parameters import TagError, message_of_build
from taglab.tracking.capture import captured
from taglab.tracking.connection import connect
from taglab.tracking.context import set_variable, tagged_runs
from taglab.tracking.deferred import deferred_work
from taglab.tracking.kept import kept_until_finished
from taglab.tracking.lost_runs import end_lost_runs
from taglab.tracking.masking import mask_file, read_mask
from taglab.tracking.patch import uncommitted_patch
from taglab.tracking.provenance import LONGEST_TAG, parameter_tags, run_tags, versions
from taglab.tracking.quick_mlflow import mlflow
from taglab.tracking.reuse import REUSE, end_if_done
from taglab.tracking.signals import Interrupted, interruptible
from taglab.tracking.store import full_disk_named, sqlite_file
from taglab.tracking.summary import FAILED, FINISHED, KILLED

DESCRIPTION = "mlflow.note.content"  # the tag that MLflow shows as a run's description


@contextlib.contextmanager
def start_run(
    main_file: str | Path, config: Mapping[str, Any], run_name: str | None = None,
    reuse: bool | None = None
) -> Iterator[mlflow.ActiveRun]:
    """Run the body as one MLflow run of the process whose folder holds `main_file`.

    The run, and those nested in it with `mlflow.start_run(nested=True)`, carry their origin as
    tags. The run has `config` as parameters and holds versions.txt, output.log and, when files
    differ from the commit, uncommitted.patch. The message of the build's tag is its description.
    It ends FINISHED, FAILED or KILLED, as the body does.

    reuse: end the process with status 0, before the body, where a run of the same process, commit,
    `config`, Python and library has FINISHED and nothing is uncommitted, then or now. What the
    commit does not hold is not compared: data from elsewhere, variables of the environment. None
    is True where the variable LAB_REUSE is `true`, as `lab restart --skip-done` sets it. A process
    that does more than this one run needs False.

    Raises NoLab outside of a lab, TagError where the parameters of the build's tag are lost,
    NoServer and WrongSchema when the store cannot be used, and Undelivered when the server stayed
    away; SystemExit where a wide job or an earlier run has done the work.
    """
    main_file = Path(main_file).resolve()
    lab, process = lab_root(main_file), main_file.parent.name
    with set_variable("LAB_ROOT", str(lab)):  # for child processes, too
        tags = run_tags(lab, process, config) | parameter_tags(
            lab, process, config, sys.argv[1:])
        if reuse or reuse is None and os.environ.get(REUSE) == "true":
            end_if_done(config, tags)
        if os.environ.get("RANK", "0") != "0":
            with _unrecorded(tags) as run:
                yield run
            return
        uri = connect()
        with interruptible():
            end_lost_runs()
            status = run_wide(main_file, config)
        if status is not None:  # the pods of a job have done the work
            raise SystemExit(status)
        with (full_disk_named(sqlite_file(uri)),
              _recorded(lab, uri, run_name or process, config, tags) as run):
            yield run


@contextlib.contextmanager
def _recorded(
    lab: Path, uri: str, name: str, config: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[mlflow.ActiveRun]:
    """Run the body as a run in the store at `uri`."""
    with (tempfile.TemporaryDirectory() as folder, _buffered(uri), tagged_runs(tags),
          _statuses(), kept_until_finished() as remove_kept, interruptible() as ignore_signals):
        run = mlflow.start_run(run_name=name, **run_of_pod(tags))
        with _marked(run, uri):
            log, status = Path(folder, "output.log"), FAILED
            try:
                with captured(log), deferred_work(run.info.run_id):
                    log_origin(lab, config, tags)
                    yield run
                status = FINISHED
            except BaseException as error:
                status = ending(error)
                if status != FINISHED:
                    with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                        traceback.print_exception(error, file=file)
                raise
            finally:
                ignore_signals()
                _end(run, status, log)
                if status == FINISHED:
                    remove_kept()


def _marked(run: mlflow.ActiveRun, uri: str) -> contextlib.AbstractContextManager[None]:
    """Mark the run as open, so that `end_lost_runs` ends it if this process is killed."""
    try:
        # The run of a pod is continued by the pod that replaces it.
        return contextlib.nullcontext() if JOB_NAME in os.environ else marked(
            state_folder(), run.info.run_id, uri)
    except ValueError:  # a URL; locks need a folder
        return contextlib.nullcontext()


def _buffered(uri: str) -> contextlib.AbstractContextManager[None]:
    """Buffer results while their server is away, where there is one."""
    if not uri.startswith("http"):
        return contextlib.nullcontext()
    from taglab.tracking.buffered_store import buffered

    try:
        state = state_folder()
    except ValueError:  # a URL; the outbox needs a folder
        state = Path(tempfile.gettempdir())
    return buffered(uri, state / "outbox" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")


@contextlib.contextmanager
def _unrecorded(tags: Mapping[str, str]) -> Iterator[mlflow.ActiveRun]:
    """Discard what the body logs and prints: of torchrun's processes only the first records."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    with (tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere,
          contextlib.redirect_stdout(nowhere), tagged_runs(tags)):
        logging.disable(logging.WARNING)
        mlflow.set_tracking_uri(Path(folder, "store").as_uri())
        with mlflow.start_run() as run:
            yield run


def ending(error: BaseException) -> str:
    """Return the status of a run whose body raised `error`."""
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        return KILLED
    return FINISHED if isinstance(error, SystemExit) and error.code in (None, 0) else FAILED


def log_origin(lab: Path, config: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Log the parameters, the versions and the uncommitted changes to the active run.

    Describe it, if nothing else does.
    """
    mlflow.log_params(flatten(config))
    _describe(lab)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "versions.txt").write_text(versions(), encoding="utf-8")
        if tags.get("dirty") == "true":
            Path(folder, "uncommitted.patch").write_bytes(read_mask()(uncommitted_patch(lab)))
        mlflow.log_artifacts(folder)


def _describe(lab: Path) -> None:
    run = mlflow.active_run()
    with contextlib.suppress(TagError):  # that is why the run fails
        question = message_of_build(lab).question
        if question and run and DESCRIPTION not in mlflow.get_run(run.info.run_id).data.tags:
            mlflow.set_tag(DESCRIPTION, question[:LONGEST_TAG])


def _end(run: mlflow.ActiveRun, status: str, log: Path) -> None:
    """End a run and the runs still open inside it; only warn if output.log cannot be stored."""
    run_id = run.info.run_id
    try:
        while (active := mlflow.active_run()) and active.info.run_id != run_id:
            mlflow.end_run(status)
        mask_file(log, read_mask())
        mlflow.log_artifact(str(log), run_id=run_id)
    except Exception as error:
        print(f"warning: output.log of run {run_id} was not stored: {error}", file=sys.stderr)
    finally:
        if mlflow.active_run():
            mlflow.end_run(status)
        else:  # the body ended it
            mlflow.MlflowClient().set_terminated(run_id, status)


@contextlib.contextmanager
def _statuses() -> Iterator[None]:
    """Give nested runs their right status: MLflow's `with` knows only FINISHED and FAILED."""
    original: Any = mlflow.ActiveRun.__exit__

    def leave(run: mlflow.ActiveRun, kind: Any, error: Any, trace: Any) -> bool:
        is_swallowed: bool = original(run, kind, error, trace)
        if error is not None and ending(error) != FAILED:
            mlflow.MlflowClient().set_terminated(run.info.run_id, ending(error))
        return is_swallowed

    mlflow.ActiveRun.__exit__ = leave  # type: ignore[method-assign]  # MLflow has no hook for it
    try:
        yield
    finally:
        mlflow.ActiveRun.__exit__ = original  # type: ignore[method-assign]  # put back
