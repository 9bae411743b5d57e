"""What a process calls: the path of data by its name, and the run's record of it."""

import json
import sys
from pathlib import Path

from taglab.datasets.entries import files_of, have, summary
from taglab.datasets.lock import Entry, read_lock
from taglab.datasets.objects import Cache, cache_folder
from taglab.lab import lab_root


def path(name: str) -> Path:
    """Return the file or the folder that `data.lock` names so, received first where it is missing.

    It lies in a cache, read-only, ends in the name and holds what the commit says: it is verified
    when it arrives, and again where a process has changed it since. Inside `start_run`, the run
    gets it as an input of MLflow and its SHA-256 as the tag `data.NAME`.

    Raises DataError, a subclass of `taglab.errors.LabError`, with the name and the addresses where
    it cannot be had; NoLab outside of a lab.
    """
    lab = lab_root()
    lock = read_lock(lab)
    entry, cache = lock.entry(name), Cache(cache_folder())
    if have(lab, lock, cache, [entry]):
        print(f"received {name}, {summary(entry)}", flush=True)
    found = cache.view(name, entry.sha256, files_of(cache, entry) or [], bool(entry.files))
    _record(entry)
    return found


def _record(entry: Entry) -> None:
    """Write the entry to the active run, if there is one."""
    if "mlflow" not in sys.modules:
        return
    from taglab.tracking.quick_mlflow import mlflow
    from mlflow.entities import Dataset, DatasetInput

    run = mlflow.active_run()
    if run is None:
        return
    # MLflow would compute a digest of its own. Its digests have at most 36 characters.
    dataset = Dataset(entry.name, entry.sha256[:32], "taglab", json.dumps({"uri": entry.address}),
                      profile=json.dumps({"size": entry.size, "files": entry.files or 1}))
    client = mlflow.MlflowClient()
    client.log_inputs(run.info.run_id, [DatasetInput(dataset)])
    client.set_tag(run.info.run_id, f"data.{entry.name}", entry.sha256)
