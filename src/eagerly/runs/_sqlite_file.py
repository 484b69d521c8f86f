"""The SQLite file of a run store: how it is made, recognised, brought up to date and opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Generator
from typing import Final
from urllib.parse import quote

from eagerly._file_locks import try_lock
from eagerly.errors import RunsError
from eagerly.runs._schema import SQLITE, VERSION, statements

__all__ = ["Connection", "connect", "empty", "prepare", "stamp"]

APPLICATION: Final = 0x65_61_67_72
"""What the header of our databases says they are for: "eagr"."""

# No memory map: a truncated database must give an error, not a signal. No functions from a planted schema.
_PRAGMAS: Final = ("synchronous=NORMAL", "trusted_schema=OFF", "mmap_size=0", "cache_size=-8192")


class Connection(sqlite3.Connection):
    """Closes itself when nobody has it any more: a thread may end, or be interrupted, at any moment."""

    def __del__(self) -> None:
        self.close()


def stamp(path: str) -> tuple[int, int] | None:
    """What tells the file at `path` from another that takes its place; None if there is none, or nothing in it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return (status.st_dev, status.st_ino) if status.st_size else None


def connect(path: str, timeout: float) -> Connection:
    """A connection to a file that exists. Each statement is its own transaction, unless one is begun."""
    if os.access(path, os.W_OK):
        how = "mode=rw"
    elif os.path.exists(f"{path}-wal"):
        how = "mode=ro"
    else:
        how = "immutable=1"  # nobody has it open, and in a folder without write access SQLite could not make its log
    connection = sqlite3.connect(
        f"file:{quote(path)}?{how}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def empty() -> Connection:
    """What stands for a file that is not there when it is read: the same tables, with nothing in them."""
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=Connection)
    for statement in statements(SQLITE, 0):
        connection.execute(statement)
    return connection


def prepare(path: str, timeout: float) -> None:
    """Make the file if there is none, and bring it up to date; one process at a time does.

    Raises:
        RunsError: It is no run store, or one of a newer version.
        sqlite3.Error: It cannot be read.
    """
    if stamp(path) is not None:
        with contextlib.closing(connect(path, timeout)) as connection:
            if _version(connection, path) == VERSION:
                return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with _alone(f"{path}.owners", timeout):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(connect(path, timeout)) as connection:
            version = _version(connection, path)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements(SQLITE, version):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("COMMIT")


def _version(connection: Connection, path: str) -> int:
    """The version of the schema; 0 for a database with nothing in it.

    Raises:
        RunsError: It is no run store, or one of a newer version.
    """
    connection.execute("BEGIN")  # all three as of one moment: another process may be making it
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if not tables and not version:
        return 0
    if application != APPLICATION:
        raise RunsError(
            f"{path} is a SQLite database of another program, and is left as it is; give the run store a path of its"
            f" own, as in {path}.runs"
        )
    if version > VERSION:
        raise RunsError(
            f"the run store {path} was written by a newer eagerly (its schema has version {version}, and this one knows"
            f" {VERSION}), and is left as it is. Upgrade with `pip install --upgrade eagerly`, or give another path"
        )
    return int(version)


@contextlib.contextmanager
def _alone(folder: str, timeout: float) -> Generator[None]:
    """No other process is in such a block with the same folder."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    fd = os.open(os.path.join(folder, ".setup"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while not try_lock(fd):
            if time.monotonic() > deadline:
                break  # a file system without locks, where SQLite's own have to do
            time.sleep(0.002)
        yield
    finally:
        os.close(fd)
