"""TensorBoard events of runs; `python -m taglab.training.tensorboard [OPTION…]` shows them."""

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taglab.tracking.quick_mlflow import mlflow
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from taglab.tracking.connection import experiment_name, open_store
from taglab.tracking.summary import find_runs

EVENTS = "tensorboard"  # the folder among the artifacts of a run


def main(options: list[str]) -> int:
    """Serve the events of all runs, running ones included, until Ctrl-C; return an exit code.

    options: for TensorBoard.
    """
    if importlib.util.find_spec("tensorboard") is None:
        print("error: this lab has no TensorBoard; type: lab add tensorboard", file=sys.stderr)
        return 1
    client = open_store()
    with tempfile.TemporaryDirectory() as folder:
        if not client or not collect(client, Path(folder)):
            print("no run has TensorBoard events yet; call fit with tensorboard=True")
            return 1
        with contextlib.suppress(KeyboardInterrupt):
            return subprocess.run([sys.executable, "-m", "tensorboard.main", "--logdir", folder,
                                   *options]).returncode
        return 0


def collect(client: MlflowClient, folder: Path) -> int:
    """Link or download the events of each run into `folder`; return how many runs have events."""
    runs = find_runs(client, experiment_name())
    for run in runs:
        target = folder / f"{run.info.run_name}-{run.info.run_id[:8]}".replace("/", "-")
        if artifacts := local_artifacts(run.info.artifact_uri):
            if (artifacts / EVENTS).is_dir():
                target.symlink_to(artifacts / EVENTS)
        elif any(item.path == EVENTS for item in client.list_artifacts(run.info.run_id)):
            target.mkdir()
            client.download_artifacts(run.info.run_id, EVENTS, str(target))
    return len(list(folder.iterdir()))


@contextlib.contextmanager
def event_writer(run_id: str | None) -> Iterator[Any]:
    """Yield a SummaryWriter whose events become artifacts of a run.

    They are written in place where the artifacts are on this machine, else uploaded at the end.

    Raises ValueError without a run.
    """
    from torch.utils.tensorboard import SummaryWriter

    if not run_id:
        raise ValueError("TensorBoard events belong to a run; call fit inside start_run")
    artifacts = local_artifacts(MlflowClient().get_run(run_id).info.artifact_uri)
    with tempfile.TemporaryDirectory() as scratch:
        writer = SummaryWriter(str(artifacts / EVENTS) if artifacts else scratch, flush_secs=5)
        try:
            yield writer
        finally:
            writer.close()
            if not artifacts:
                mlflow.log_artifacts(scratch, EVENTS, run_id=run_id)


def local_artifacts(uri: str) -> Path | None:
    """Return the folder of a run's artifacts, or None when it is not on this machine."""
    if not uri.startswith(("file:", "/")):
        return None
    return Path(local_file_uri_to_path(uri))  # type: ignore[no-untyped-call]  # of MLflow


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
