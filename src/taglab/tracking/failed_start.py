"""Leaves a failed run where a process of a build ends with an error before it has made a run.

    python -m taglab.tracking.failed_start MAIN_FILE [key=value …] < TRACEBACK

`watch` is called when Python starts, by `vendor/sitecustomize.py`. Another process makes the run:
in the one that failed anything may be broken, and at its exit no thread can be started.
"""

import atexit
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from taglab.ci import read_build
from taglab.cluster.manifest import JOB_NAME

PLACE = ("lab", "processes")  # the folders around that of a process
TIMEOUT = 60  # seconds


def watch() -> None:
    """See to it that this process leaves a run, if it is one that is watched.

    An exception is noticed, and `sys.exit` with a message or a status other than 0. A process that
    raises SystemExit by itself, or is killed, leaves nothing.
    """
    if not is_watched(sys.argv[0], os.environ):
        return
    main_file, show = os.path.abspath(sys.argv[0]), sys.excepthook
    exits: list[str] = []  # the lines that tell where and why `sys.exit` was called last

    def excepthook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        exits.clear()
        show(kind, error, trace)
        if isinstance(error, Exception):
            leave_run(main_file, traceback.format_exception(error))

    def leave(status: str | int | None = None, /) -> NoReturn:
        handled = sys.exc_info()[1]
        exits[:] = [] if status in (None, 0) else [
            *(traceback.format_exception(handled) if handled else []),
            "Traceback (most recent call last):\n", *traceback.format_stack()[:-1],
            f"SystemExit: {status}\n"]
        raise SystemExit(status)

    def at_exit() -> None:
        if exits:
            leave_run(main_file, exits)

    sys.excepthook, sys.exit = excepthook, leave
    atexit.register(at_exit)


def is_watched(script: str, environment: Mapping[str, str]) -> bool:
    """Return whether a script is to leave a run: the main.py of a process, in a step of a build.

    Of the many that run the same main.py in a wide job or under torchrun, at most one is.
    """
    path = Path(os.path.abspath(script))
    return (path.name == "main.py" and path.parts[-4:-2] == PLACE
            and bool(read_build(environment).number)
            and JOB_NAME not in environment and environment.get("RANK", "0") == "0")


def leave_run(main_file: str, lines: list[str]) -> None:
    """Have a failed run made with the lines of a traceback, unless there is one; else warn."""
    try:
        if has_run():
            return
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, main_file, *sys.argv[1:]], timeout=TIMEOUT,
            input="".join(lines), encoding="utf-8",
            errors="backslashreplace", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", **os.environ})
        problem = done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as failure:
        problem = str(failure)
    if problem:
        print(f"warning: this failure is in no run: {problem}", file=sys.stderr)


def has_run() -> bool:
    """Return whether this process has made a run."""
    last_active_run = getattr(sys.modules.get("mlflow"), "last_active_run", lambda: None)
    try:
        return last_active_run() is not None
    except Exception:  # there is one, which cannot be read now
        return True


def main(main_file: str, words: list[str], text: str) -> None:
    """Make the run of a process that failed with the traceback `text`."""
    from taglab.config import load_config
    from taglab.lab import lab_root
    from taglab.tracking.connection import connect
    from taglab.tracking.context import set_variable, tagged_runs
    from taglab.tracking.provenance import parameter_tags, run_tags
    from taglab.tracking.quick_mlflow import mlflow
    from taglab.tracking.run import log_origin
    from taglab.tracking.summary import FAILED

    lab, process = lab_root(main_file), Path(main_file).resolve().parent.name
    config: dict[str, Any] = {}
    changed: dict[str, str] = {}
    with suppress(SystemExit):  # which may be why it failed
        config = load_config(main_file, words)
        changed = parameter_tags(lab, process, config, words)
    tags = {**run_tags(lab, process, config), **changed, "reason": "it ended before it made a run"}
    with set_variable("LAB_ROOT", str(lab)), tagged_runs(tags):
        connect()
        mlflow.start_run(run_name=process)
        try:
            mlflow.log_text(text, "output.log")
            log_origin(lab, config, tags)
        finally:
            mlflow.end_run(FAILED)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:], sys.stdin.buffer.read().decode(errors="replace"))
