"""`SqliteRunStore`: runs in one SQLite file, for any number of processes of one machine.

====================  ===========================================================================================
``runs.db``           the rows, with ``-wal`` and ``-shm`` beside it while it is open
``runs.db.blobs``     outputs that are too large for a row: ``<sha256>.gz``
``runs.db.owners``    one locked file for each process that runs something
====================  ===========================================================================================

It is used as it was found or not at all: what is damaged, of a newer version or none of ours is never written to.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from eagerly._numbers import seconds
from eagerly._paths import absolute, path_text
from eagerly.errors import OptionTypeError, OptionValueError, RunsError
from eagerly.runs._blobs import Blobs, Staged
from eagerly.runs._connections import Connections, at_work
from eagerly.runs._owners import Owners
from eagerly.runs._payload import Payload
from eagerly.runs._record import RunRecord
from eagerly.runs._rows import MANY, SEVERAL, insertion
from eagerly.runs._sql import Sql, SqlRunStore
from eagerly.runs._sqlite_file import connect, empty, prepare, stamp
from eagerly.runs._sqlite_trouble import translated
from eagerly.runs._waiters import waiters_of

__all__ = ["SqliteRunStore"]

T = TypeVar("T")

INTERVAL: Final = 0.05
"""Seconds between two looks for what other processes have written, while somebody waits."""


class SqliteRunStore(SqlRunStore):
    """A `RunStore` in one SQLite file, which all processes of a machine can share.

    Nothing is touched before the first use, and nothing is made before something is written. Outputs of more than
    64 KiB are files in a folder beside it, and each process that runs something has a locked file in another.

    Args:
        path: The file. If it is a folder: ``runs.db`` in it. A relative path starts at the working directory of now.
        timeout: Seconds to wait while another process writes.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.

    Example:
        >>> import tempfile
        >>> from eagerly import runs, session
        >>> from eagerly.runs import SqliteRunStore
        >>> with tempfile.TemporaryDirectory() as folder, session(run_store=SqliteRunStore(folder)) as here:
        ...     run = runs.create("import", tags=["nightly"])
        ...     [found.task for found in runs.list(tags=["nightly"])]
        ...     here.run_store.close()
        ['import']
    """

    def __init__(self, path: str | os.PathLike[str] = ".eagerly/runs.db", *, timeout: float = 30.0) -> None:
        text = path_text("SqliteRunStore(path)", path, "write 'runs.db'")
        if text is None:
            raise OptionTypeError(f"SqliteRunStore(path) takes a path, not {path!r}")
        if "://" in text:
            raise OptionValueError(f"SqliteRunStore({text!r}) takes a path, not a URL; write open_run_store({text!r})")
        place = absolute(text)
        if os.path.isdir(place) or text.endswith((os.sep, "/")):
            place = os.path.join(place, "runs.db")
        self.place = place
        self.timeout = seconds("SqliteRunStore(timeout=...)", timeout, positive=True)
        self._begin()

    def __repr__(self) -> str:
        return f"SqliteRunStore({self.place!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (self.place, self.timeout)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._stamp: tuple[int, int] | None = None
        self._connections = Connections(partial(connect, self.place, self.timeout), closed_in_child=True)
        self._blobs = Blobs(f"{self.place}.blobs")
        self._owners = Owners(f"{self.place}.owners")
        self._waiters = waiters_of(os.path.realpath(self.place))

    @property
    def trusted(self) -> bool:  # type: ignore[override]  # asked of the file
        """Whether the file belongs to this user and nobody else can write to it."""
        try:
            status = os.stat(self.place)
        except FileNotFoundError:
            return True
        return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)

    def owner(self) -> str:
        """The id of this process as an owner of runs."""
        with translated(self.place, self.timeout):
            self._open(writing=True)
            return self._owners.mine()

    def close(self) -> None:
        """Close the connections. The next use opens new ones."""
        self._connections.close()

    def open_probe(self) -> _DataVersion:
        """What notices that another connection has written."""
        return _DataVersion(self._connection_apart, self.place, self.timeout)

    def _connection_apart(self) -> sqlite3.Connection:
        """One to the file that is there now, or to one with nothing in it."""
        return self._connections.apart() if self._open(writing=False) else empty()

    def _read(self, work: Callable[[Sql], T]) -> T:
        with translated(self.place, self.timeout):
            if not self._open(writing=False):
                with at_work(), contextlib.closing(empty()) as nothing:
                    return work(nothing)
            with self._connections.lent() as connection:
                return work(connection)

    def _write(self, work: Callable[[Sql], T]) -> T:
        with translated(self.place, self.timeout):
            self._open(writing=True)
            with self._connections.lent() as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    result = work(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # some errors have ended the transaction already
                        connection.execute("ROLLBACK")
                    raise
                return result

    def _open(self, *, writing: bool) -> bool:
        """Make sure that the file is one of ours, as when it was looked at last; whether there is a file."""
        found = stamp(self.place)
        if found is not None and found == self._stamp:
            return True
        with at_work(), self._lock:
            found = stamp(self.place)
            if found is None and not writing:
                return False
            if found is None or found != self._stamp:
                self._connections.close()
                prepare(self.place, self.timeout)
                self._stamp = stamp(self.place)
                self._tidy()
        return True

    def _tidy(self) -> None:
        """What whoever opens the store does for those who have ended."""
        with contextlib.suppress(RunsError):  # a store that only can be read
            self.recover()
            for owner in self._owners.left():  # those who left no run behind
                if self._owners.is_dead(owner):
                    self._owners.bury(owner)

    def _insert(self, sql: Sql, records: Sequence[RunRecord]) -> None:
        whole = len(records) - len(records) % MANY
        for start in range(0, whole, MANY):
            sql.execute(SEVERAL, [value for each in records[start : start + MANY] for value in insertion(each)])
        if whole < len(records):
            super()._insert(sql, records[whole:])

    def _stage(self, payload: Payload) -> Staged:
        with translated(self.place, self.timeout):
            self._open(writing=True)
            return self._blobs.stage(payload)

    def _keep(self, sql: Sql, staged: Staged) -> None:  # noqa: ARG002 - files need no connection
        self._blobs.keep(staged)

    def _unstage(self, staged: Staged) -> None:
        self._blobs.unstage(staged)

    def _load(self, blob: str, run_id: str) -> bytes:
        return self._blobs.load(blob, run_id)

    def _sweep(self) -> None:
        statement = "SELECT 1 FROM runs WHERE output_blob = ? LIMIT 1"

        def work(sql: Sql) -> None:
            self._blobs.sweep(lambda blob: sql.execute(statement, (blob,)).fetchone() is not None, time.time())

        self._write(work)

    def _dead(self, owners: Sequence[str]) -> list[str]:
        return [owner for owner in owners if self._owners.is_dead(owner)]

    def _bury(self, owner: str) -> None:
        self._owners.bury(owner)


class _DataVersion:
    """Which file it is, and SQLite's own count of what other connections have committed to it."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], place: str, timeout: float) -> None:
        self._connect = connect
        self._place, self._timeout = place, timeout
        self._connection: sqlite3.Connection | None = None
        self._seen = self._version()

    def pause(self, fresh: threading.Event) -> bool:
        fresh.wait(INTERVAL)
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def close(self) -> None:
        with at_work():
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _version(self) -> tuple[Any, int]:
        with translated(self._place, self._timeout), at_work():
            found = stamp(self._place)
            if self._connection is None or found != self._seen[0]:  # the file was replaced: a new one has its own count
                self.close()
                self._connection = self._connect()
            return found, self._connection.execute("PRAGMA data_version").fetchone()[0]


def _remade(place: str, timeout: float) -> SqliteRunStore:
    return SqliteRunStore(place, timeout=timeout)
