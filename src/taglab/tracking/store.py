"""The SQLite file that MLflow writes to: made once, artifacts beside it, found again when moved."""

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ARTIFACTS = "mlartifacts"

# Every column of MLflow's schema that can hold the address of an artifact.
ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
]


def sqlite_file(uri: str) -> Path | None:
    """Return the file that a tracking URI names, or None when it is not a SQLite file."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(unquote(found[1])).resolve() if found and found[1] != ":memory:" else None


def sqlite_uri(database: Path) -> str:
    """Return the tracking URI of a SQLite file."""
    path = str(database).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"


def artifact_root(database: Path) -> str:
    """Return the address of the artifact folder of a SQLite file."""
    return (database.parent / ARTIFACTS).as_uri()


def prepare(database: Path) -> None:
    """Make the database if it is missing and follow it if it was moved; any number at once."""
    if _is_made(database) and not _old_roots(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(database):
        if not _is_made(database):
            _make(database)
        for old in _old_roots(database):
            _move_addresses(database, old, artifact_root(database))


def commit_quickly() -> None:
    """Let commits to SQLite not wait for the disk: a third less time for each run.

    What a process wrote stays when the process is killed. After a power cut the last commits may
    be missing; the file is whole.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _do_not_wait):
        event.listen(Engine, "connect", _do_not_wait)


def _do_not_wait(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = NORMAL")


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock of a database; it is free again when its holder dies."""
    with open(f"{database}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_made(database: Path) -> bool:
    return database.is_file() and database.stat().st_size > 0


def _make(database: Path) -> None:
    """Write the schema to a draft and rename it, so that no one meets half a database."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = database.with_name(f"{database.name}.draft")
    draft.unlink(missing_ok=True)
    with _quiet("mlflow.store.db.utils"), _quiet("alembic"):
        SqlAlchemyStore(sqlite_uri(draft), artifact_root(database)).engine.dispose()
    os.replace(draft, database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # Readers and one writer do not wait for each other; the file remembers it.
        connection.execute("PRAGMA journal_mode = WAL")


def _old_roots(database: Path) -> list[str]:
    """Return the artifact folders that the database names and that are now the one beside it."""
    if not (database.parent / ARTIFACTS).is_dir():
        return []
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
        try:
            rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments")
            locations = [location for (location,) in rows if location]
        except sqlite3.OperationalError:  # not MLflow's: let MLflow say so
            return []
    found = (re.match(rf"((?:file:|/).*/{ARTIFACTS})(?:/|$)", location) for location in locations)
    here = {artifact_root(database), str(database.parent / ARTIFACTS)}
    return sorted({match[1] for match in found if match} - here, key=len, reverse=True)


def _move_addresses(database: Path, old: str, new: str) -> None:
    """Replace the folder `old` by `new` wherever the database names it, all or nothing."""
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
    """Let only warnings of one logger through."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
