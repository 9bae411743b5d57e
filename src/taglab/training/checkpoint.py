"""The checkpoint of a training, from which it resumes after it was killed."""

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import fsspec
import torch

from taglab.disk import is_full
from taglab.lab import lab_root, state_folder
from taglab.tag_parameters import ending
from taglab.tracking.context import process_tags
from taglab.tracking.patch import uncommitted_patch
from taglab.training.distributed import all_gather, rank

SHARE = 20  # writing takes at most one part in so many of the time


class Checkpoint:
    """A file under LAB_STATE, a folder or a URL, that rank 0 reads and writes.

    Its name is a hash of the code, the configuration, the tag's parameters and `identity`, so that
    only the very same training resumes from it. Outside `start_run` the code is unknown, and there
    is no file.

    identity: everything else that the result depends on: initial weights, data, options.
    """

    def __init__(self, *identity: Any) -> None:
        tags = process_tags()
        self._files: Any = None
        self._path, self._next_save = "", 0.0
        if "process" in tags and not rank():
            self._files, root = fsspec.url_to_fs(os.environ.get("LAB_STATE") or state_folder())
            self._path = f"{root}/training/{tags['process']}-{_digest(tags, identity)}.pt"

    def load(self) -> Any:
        """Return the saved state in every process, or None when there is none."""
        state = None
        if self._path and self._files.exists(self._path):
            with self._files.open(self._path, "rb") as file:
                state = torch.load(file, map_location="cpu", weights_only=False)
        return all_gather(state)[0]

    def save_if_due(self, state: Callable[[], Any]) -> None:
        """Save the state atomically, unless saving took too much of the time lately.

        On a full disk a warning says so, and the file that was saved last stays.
        """
        started = time.monotonic()
        if not self._path or started < self._next_save:
            return
        try:
            self._save(state)
        except Exception as error:
            if not is_full(error):
                raise
            print(f"warning: the disk is full, so {self._path} was not saved. The training goes "
                  "on; if it is killed, it resumes from an older state", file=sys.stderr)
        now = time.monotonic()
        self._next_save = now + SHARE * (now - started)

    def _save(self, state: Callable[[], Any]) -> None:
        draft = f"{self._path}.{os.getpid()}"
        try:
            self._files.makedirs(os.path.dirname(self._path), exist_ok=True)
            with self._files.open(draft, "wb") as file:
                torch.save(state(), file)
            self._files.mv(draft, self._path)
        except BaseException:
            if self._files.exists(draft):
                self._files.rm(draft)
            raise

    def delete(self) -> None:
        """Delete the file, since the training has finished."""
        if self._path and self._files.exists(self._path):
            self._files.rm(self._path)


def _digest(tags: Mapping[str, str], identity: Any) -> str:
    """Return 16 hex digits that name a training."""
    # The trials of a search run side by side, each in the run that it was given.
    known = [tags["process"], tags.get("config_hash"), tags.get("commit"),
             os.environ.get("MLFLOW_RUN_ID"), ending(tags.get("tag", ""))]
    patch = uncommitted_patch(lab_root()) if tags.get("dirty") != "false" else b""
    saved = io.BytesIO()
    torch.save(identity, saved)
    return hashlib.sha256(json.dumps(known).encode() + patch + saved.getvalue()).hexdigest()[:16]
