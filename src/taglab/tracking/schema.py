"""Compares the schema of a SQLite store with the one that the installed MLflow needs.

MLflow refuses any other schema with a traceback, and has no public function that compares the two.
This module reads what MLflow does not document, checked with MLflow 3.17.2: the table
`alembic_version`, and the revisions in the files of `mlflow/store/db_migrations/versions`. It does
not import MLflow, which takes seconds: `lab doctor` runs it, with a file and its URI.
"""

import contextlib
import re
import shlex
import sqlite3
import sys
from importlib import metadata, util
from pathlib import Path


class WrongSchema(SystemExit):
    """Another MLflow wrote the store; the message says which file it is and what to type."""


def check_schema(database: Path, uri: str) -> None:
    """Raise WrongSchema unless the installed MLflow can use the SQLite file at `uri`.

    Writes nothing. A file without MLflow's tables, or one that is no database, is left to MLflow.
    """
    found, known = _schema_revision(database), known_revisions()
    if found is None or not known or found == newest(known):
        return
    installed = metadata.version("mlflow")
    if found in known:
        raise WrongSchema(
            f"error: an MLflow older than the installed {installed} last upgraded "
            f"{database}; copy the file, then type: mlflow db upgrade {shlex.quote(uri)}")
    raise WrongSchema(
        f"error: an MLflow newer than the installed {installed} last upgraded {database}; "
        "run this commit with a store of its own, like this: "
        "MLFLOW_TRACKING_URI=sqlite:///old.db python …")


def known_revisions() -> dict[str, str | None]:
    """Return each schema revision that the installed MLflow knows, with the one it follows."""
    found: dict[str, str | None] = {}
    package = util.find_spec("mlflow")
    if package is None or package.origin is None:
        return found
    migrations = Path(package.origin).parent / "store" / "db_migrations" / "versions"
    for file in migrations.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        if revision := re.search(r'^revision = "(\w+)"', text, re.MULTILINE):
            previous = re.search(r'^down_revision = "(\w+)"', text, re.MULTILINE)
            found[revision[1]] = previous and previous[1]
    return found


def newest(revisions: dict[str, str | None]) -> str | None:
    """Return the revision that no other one follows."""
    return next(iter(revisions.keys() - revisions.values()), None)


def _schema_revision(database: Path) -> str | None:
    """Return the schema revision of a SQLite file, or None when it has none."""
    # mode=rw never creates the file. With mode=ro SQLite would leave a -wal and a -shm file behind.
    address = f"{database.absolute().as_uri()}?mode=rw"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=20)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return None
    return row and str(row[0])


if __name__ == "__main__":
    check_schema(Path(sys.argv[1]), sys.argv[2])
