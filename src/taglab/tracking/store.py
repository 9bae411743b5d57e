"""The SQLite file that MLflow writes to: created once, artifacts beside it, free to be moved.

This module uses what MLflow does not document, checked with MLflow 3.17.2: `SqlAlchemyStore`, which
creates the schema; the columns in ADDRESSES; the name of the logger `mlflow.store.db.utils`.
"""

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from taglab.disk import has_no_space, is_full
from taglab.tracking.schema import check_schema

ARTIFACTS = "mlartifacts"

# Every column of MLflow's schema that can hold an artifact's address.
ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
]


class DiskFull(SystemExit):
    """The disk of the SQLite file is full; the message says which file that is."""


def sqlite_file(uri: str) -> Path | None:
    """Return the SQLite file that a tracking URI names, or None when it names something else."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(unquote(found[1])).resolve() if found and found[1] != ":memory:" else None


def sqlite_uri(database: Path) -> str:
    """Return the tracking URI of a SQLite file."""
    path = str(database).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"


def artifact_root(database: Path) -> str:
    """Return the URI of the artifact folder that belongs to a SQLite file."""
    return (database.parent / ARTIFACTS).as_uri()


def prepare(database: Path) -> None:
    """Create the database if it is missing, and update its addresses if it was moved.

    Any number of processes may do so at once. Raises WrongSchema when another MLflow wrote it.
    """
    if _is_created(database):
        check_schema(database, sqlite_uri(database))
        if not _old_roots(database):
            return
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(database):
        if not _is_created(database):
            _create(database)
        for old in _old_roots(database):
            _replace_addresses(database, old, artifact_root(database))


@contextlib.contextmanager
def full_disk_named(database: Path | None) -> Iterator[None]:
    """Raise DiskFull, for what would fill screens, where SQLite cannot write to a full disk."""
    try:
        yield
    except Exception as error:
        if database is None or not _is_of_sqlite(error):
            raise
        if not (is_full(error) or has_no_space(database.parent)):
            raise
        raise DiskFull(f"error: the disk is full, so {database} could not be written. What was "
                       "written before is whole. Make space, then run it again") from error


def _is_of_sqlite(error: BaseException | None) -> bool:
    """Return whether an error, or one that has led to it, is SQLite's."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__ or error.__context__
    return error is not None


def commit_quickly() -> None:
    """Commit to SQLite without waiting for the disk, which saves a third of the time of a run.

    Nothing is lost when the process is killed. After a power cut the last commits may be missing,
    but the file is intact.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _relax_sync):
        event.listen(Engine, "connect", _relax_sync)


def _relax_sync(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = NORMAL")


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock of a database; a process that dies releases it."""
    with open(f"{database}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_created(database: Path) -> bool:
    return database.is_file() and database.stat().st_size > 0


def _create(database: Path) -> None:
    """Write the schema to a draft and rename it, so that nobody finds half a database.

    MLflow itself takes no lock: processes that create the same file at once would break it.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = database.with_name(f"{database.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        with _quiet("mlflow.store.db.utils"), _quiet("alembic"):
            store = SqlAlchemyStore(  # type: ignore[no-untyped-call]  # MLflow gives it no types
                sqlite_uri(draft), artifact_root(database))
            store.engine.dispose()
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    os.replace(draft, database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # Readers and the writer do not wait for each other; the setting stays in the file.
        connection.execute("PRAGMA journal_mode = WAL")


def _old_roots(database: Path) -> list[str]:
    """Return the former addresses of the artifact folder that now lies beside the database."""
    if not (database.parent / ARTIFACTS).is_dir():
        return []
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
        try:
            rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments")
            locations = [location for (location,) in rows if location]
        except sqlite3.OperationalError:  # not MLflow's, and MLflow will say so
            return []
    found = (re.match(rf"((?:file:|/).*/{ARTIFACTS})(?:/|$)", location) for location in locations)
    here = {artifact_root(database), str(database.parent / ARTIFACTS)}
    return sorted({match[1] for match in found if match} - here, key=len, reverse=True)


def _replace_addresses(database: Path, old: str, new: str) -> None:
    """Replace the folder `old` by `new` wherever the database names it, in one transaction."""
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, column in ADDRESSES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Suppress what a logger says below a warning."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
