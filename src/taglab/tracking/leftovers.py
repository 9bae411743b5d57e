"""What `lab clean` may remove of results: artifacts and journals that no run has any more.

    python -m taglab.tracking.leftovers LAB

prints them as JSON, {"artifacts": [PATH…], "searches": [PATH…]}. Nothing is removed here, and
MLflow, which takes seconds to import, is not needed.

This module reads what MLflow does not document, checked with MLflow 3.17.2: the tables and columns
in QUERIES, and that a folder of artifacts has the id of its run or its model for a name.
"""

import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from taglab.lab import state_folder

ARTIFACTS = "mlartifacts"
_LIVE = "(SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active')"
# Each returns texts that hold ids of runs and models whose artifacts are still wanted.
QUERIES = [
    "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'",
    "SELECT artifact_uri FROM runs WHERE lifecycle_stage = 'active'",
    "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'active'"
    f" AND (source_run_id IS NULL OR source_run_id IN {_LIVE})",
    "SELECT artifact_location FROM logged_models WHERE lifecycle_stage = 'active'"
    f" AND (source_run_id IS NULL OR source_run_id IN {_LIVE})",
    "SELECT run_id FROM model_versions",  # what is registered is wanted, whatever became of its run
    "SELECT source FROM model_versions",
    "SELECT storage_location FROM model_versions",
    f"SELECT destination_id FROM inputs WHERE source_id IN {_LIVE}",  # models that a run has read
    # runs:/ID/model and the like
    f"SELECT value FROM params WHERE value LIKE '%:/%' AND run_uuid IN {_LIVE}",
    f"SELECT value FROM tags WHERE value LIKE '%:/%' AND run_uuid IN {_LIVE}",
]
_ENDED_SEARCHES = (
    "SELECT tags.value FROM tags JOIN runs ON tags.run_uuid = runs.run_uuid"
    " WHERE tags.key = 'search' AND (status = 'FINISHED' OR lifecycle_stage = 'deleted')")
_ID = re.compile(r"m-[0-9a-f]{32}|[0-9a-f]{32}")
_DEPTH = 3  # EXPERIMENT/models/ID


def orphaned_artifacts(lab: Path) -> list[Path]:
    """Return the folders of artifacts of runs and models that are deleted or not known.

    A model goes with its run, unless it is registered or another run has read it. Empty where
    there is no store. Raises sqlite3.Error for a store that cannot be read.
    """
    found = list(_folders(lab / ARTIFACTS, _DEPTH))  # before the ids: runs are made all the time
    databases = stores(lab)
    if not databases:
        return []
    wanted = {id for database in databases for text in _texts(database, QUERIES)
              for id in _ID.findall(text)}
    return [folder for folder in found if folder.name not in wanted]


def ended_searches(lab: Path, state: Path) -> list[Path]:
    """Return the journals of searches whose run has finished or is deleted."""
    ended = {text for database in stores(lab) for text in _texts(database, [_ENDED_SEARCHES])}
    return [file.parent for file in sorted(state.glob("searches/*/trials.jsonl"))
            if _identity(file) in ended]


def stores(lab: Path) -> list[Path]:
    """Return MLflow's SQLite files in a lab: they share the folder of artifacts."""
    files = [file for file in sorted(lab.iterdir()) if file.is_file()
             and file.stat().st_size and file.open("rb").read(15) == b"SQLite format 3"]
    return [file for file in files if _texts(
        file, ["SELECT name FROM sqlite_master WHERE name = 'runs' AND type = 'table'"])]


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders that have an id for a name."""
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        if each.is_symlink() or not each.is_dir():
            continue
        if _ID.fullmatch(each.name):
            yield each
        elif depth > 1:
            yield from _folders(each, depth - 1)


def _texts(database: Path, queries: list[str]) -> list[str]:
    address = f"{database.absolute().as_uri()}?mode=rw"  # mode=ro would leave files behind
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=20)) as connection:
        return [str(text) for query in queries for (text,) in connection.execute(query)
                if text is not None]


def _identity(journal: Path) -> str | None:
    """Return the identity of a search, the first line of its journal."""
    with contextlib.suppress(ValueError), journal.open("rb") as file:
        return str(json.loads(file.readline()))
    return None


if __name__ == "__main__":
    root = Path(sys.argv[1])
    try:
        json.dump({"artifacts": [str(each) for each in orphaned_artifacts(root)],
                   "searches": [str(each) for each in ended_searches(
                       root, state_folder({"LAB_ROOT": str(root)}))]}, sys.stdout)
    except sqlite3.Error as problem:
        sys.exit(f"error: the store of results cannot be read: {problem}. Type: lab doctor")
