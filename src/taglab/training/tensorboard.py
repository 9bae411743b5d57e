"""Events of runs in TensorBoard: `python -m taglab.training.tensorboard [OPTION…]` shows them."""

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from taglab.tracking.quick_mlflow import mlflow
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from taglab.tracking.connection import experiment_name, open_store
from taglab.tracking.summary import find_runs

EVENTS = "tensorboard"  # the folder among the artifacts of a run


def main(words: list[str]) -> int:
    """Show the events in a browser until Ctrl-C, runs that go on included."""
    if importlib.util.find_spec("tensorboard") is None:
        print("error: this lab has no TensorBoard; type: lab add tensorboard", file=sys.stderr)
        return 1
    client = open_store()
    with tempfile.TemporaryDirectory() as folder:
        if not client or not collect(client, Path(folder)):
            print("no run has TensorBoard events yet: give fit tensorboard=True")
            return 1
        with contextlib.suppress(KeyboardInterrupt):
            return subprocess.run([sys.executable, "-m", "tensorboard.main", "--logdir", folder,
                                   *words]).returncode
        return 0


def collect(client: MlflowClient, folder: Path) -> int:
    """Put the events of each run in a folder of its own and return how many runs have some."""
    runs = find_runs(client, experiment_name())
    for run in runs:
        place = folder / f"{run.info.run_name}-{run.info.run_id[:8]}".replace("/", "-")
        if near := local_artifacts(run.info.artifact_uri):
            if (near / EVENTS).is_dir():
                place.symlink_to(near / EVENTS)
        elif any(item.path == EVENTS for item in client.list_artifacts(run.info.run_id)):
            place.mkdir()
            client.download_artifacts(run.info.run_id, EVENTS, str(place))
    return len(list(folder.iterdir()))


@contextlib.contextmanager
def event_writer(run_id: str | None) -> Iterator[object]:
    """Write TensorBoard events among a run's artifacts; to a far store they go at the end."""
    from torch.utils.tensorboard import SummaryWriter

    if not run_id:
        raise ValueError("TensorBoard events are stored with a run: call fit inside start_run")
    near = local_artifacts(MlflowClient().get_run(run_id).info.artifact_uri)
    with tempfile.TemporaryDirectory() as scratch:
        writer = SummaryWriter(str(near / EVENTS) if near else scratch, flush_secs=5)
        try:
            yield writer
        finally:
            writer.close()
            if not near:
                mlflow.log_artifacts(scratch, EVENTS, run_id=run_id)


def local_artifacts(uri: str) -> Path | None:
    """Return the folder that a run's artifact address names, or None when it is elsewhere."""
    return Path(local_file_uri_to_path(uri)) if uri.startswith(("file:", "/")) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
