"""The index of a disk store: diskcache on a database whose content is believed in nothing but keys and bytes.

diskcache as shipped unpickles what a row tells it to, opens and deletes the file that a row names, and takes attributes
and PRAGMA statements from a table (CVE-2025-69872). Here nothing of that is left: `Opaque` replaces its `Disk`, no
setting is ever read, a database with any other table, index or trigger than `SCHEMA` is not used, and names of files
come from keys. What remains is what diskcache does well: rows, transactions, expiry.
"""
# ruff: noqa: ARG002, PTH101, PTH110, PTH118 (the signatures are those of diskcache, and its paths are text)

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from eagerly.cache._schema import ROW, SCHEMA

if TYPE_CHECKING:

    class _Disk:
        def __init__(self, directory: str) -> None: ...

    class _Cache:
        """What is used of diskcache, which has no types."""

        def transact(self) -> AbstractContextManager[None]: ...
        def delete(self, key: bytes) -> bool: ...
        def clear(self) -> int: ...

else:
    from diskcache import Cache as _Cache
    from diskcache import Disk as _Disk

__all__ = [
    "GET",
    "NAME",
    "SCHEMA",
    "TROUBLE",
    "Connection",
    "Index",
    "WrongSchema",
    "connect",
    "create",
    "is_corrupt",
    "is_full",
]

NAME = "cache.db"

GET = "SELECT value, expire_time FROM Cache WHERE key = ? AND raw = 1"

_FIND = "SELECT rowid, filename FROM Cache WHERE key = ? AND raw = 1"
_INSERT = (
    "INSERT INTO Cache(key, raw, store_time, expire_time, access_time, tag, size, filename, value)"
    " VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD = f"{_INSERT} ON CONFLICT(key, raw) DO NOTHING"
_UPDATE = (
    "UPDATE Cache SET store_time = ?, expire_time = ?, access_time = ?, access_count = 0, tag = ?, size = ?, mode = 0,"
    " filename = ?, value = ? WHERE rowid = ?"
)
_TOUCH = "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1 AND access_time < ?"

TROUBLE = (sqlite3.Error, OSError, UnicodeError)
"""What using an index can raise: with a damaged one, even the message of SQLite's error may be no text."""

# A checkpoint takes as long as a hundred puts; the log grows to 8 MB before one.
_PRAGMAS = ("trusted_schema=OFF", "synchronous=NORMAL", "mmap_size=0", "cache_size=-4096", "wal_autocheckpoint=4000")
_PAGE = 2048  # bytes; a put changes five pages wherever they are, so small pages mean less to write
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA)
_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ, as the primary code
_CHECK_INTERVAL = 16  # puts between two looks at the size, if they are small for the room there was
_EXPIRY_INTERVAL = 60.0  # seconds between two looks for expired rows
_AHEAD = 60.0  # seconds by which a time of use may lie in the future: clocks of other processes may be ahead


class WrongSchema(sqlite3.DatabaseError):
    """A database that is none of ours."""


class Connection(sqlite3.Connection):
    """Closes itself when nobody has it any more: a thread may end, or be interrupted, at any moment."""

    mark: object = None
    is_open = True

    def close(self) -> None:
        super().close()
        self.is_open = False

    def __del__(self) -> None:
        self.close()


class Opaque(_Disk):
    """Keys and values are bytes, and stay so. Replaces every method through which diskcache would do more."""

    def __init__(self) -> None:
        super().__init__("")

    def put(self, key: bytes) -> tuple[bytes, bool]:
        return key, True

    def get(self, key: Any, raw: Any) -> Any:
        return key

    def store(self, value: tuple[int, str | None, bytes | None], read: Any, key: Any = None) -> tuple[Any, ...]:
        size, filename, blob = value
        return size, 0, filename, blob

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:
        return value

    def filename(self, key: Any = None, value: Any = None) -> Any:
        raise AssertionError("diskcache writes no files here")

    def remove(self, file_path: Any) -> None:
        raise AssertionError("diskcache removes no files here")


class _Work:
    """One operation of one thread. The garbage collector may run a task, and so another, in the middle of it."""

    __slots__ = ("connection", "removed")

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self.connection = connection
        self.removed: list[Any] = []


_NO_WORK = _Work(None)


class Index(_Cache):
    """diskcache on connections that are lent to it for one operation.

    The constructor of diskcache is not called: it writes to the database, reads settings from it, and replaces ``~``
    and ``$`` in the path.

    Attributes:
        size_limit: In bytes.
        touched: When entries were last used, in Unix seconds, as far as that is not written yet.
    """

    statistics = 0
    tag_index = 0
    eviction_policy = "least-recently-used"

    def __init__(self, directory: str, timeout: float, size_limit: int) -> None:
        self._directory = directory
        self._timeout = timeout
        self._local = threading.local()
        self._disk = Opaque()
        self.size_limit = size_limit
        self.touched: dict[bytes, float] = {}
        self._next_expiry = 0.0
        self._until_check = self._written = self._room = 0

    def bind(self, connection: sqlite3.Connection) -> _Work:
        """Work on this connection, in this thread, until told otherwise; returns what to tell `unbind` at the end."""
        before: _Work = getattr(self._local, "work", _NO_WORK)
        self._local.work = _Work(connection)
        return before

    def unbind(self, before: _Work) -> None:
        """Go on with what was interrupted."""
        self._local.work = before

    @property
    def _work(self) -> _Work:
        work: _Work = self._local.work
        return work

    @property
    def _con(self) -> Any:
        return self._work.connection

    @property
    def removed(self) -> list[Any]:
        """The files that rows named which are gone: what to do about them is to be decided elsewhere."""
        return self._work.removed

    @contextlib.contextmanager
    def _transact(
        self, retry: bool = False, filename: str | None = None
    ) -> Generator[tuple[Any, Callable[[Any], None]]]:
        connection = self._con
        execute = connection.execute
        if connection.in_transaction:
            yield execute, self._work.removed.append
            return
        execute("BEGIN IMMEDIATE")
        try:
            yield execute, self._work.removed.append
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise

    def add(self, connection: Connection, key: bytes, blob: bytes, size: int, expires: float | None, tag: str) -> bool:
        """`save` of a new row for which nothing has to make room, in one statement; False: it takes a `save`.

        Most puts are that. Statements to begin, to look for the row and to commit would take a fifth longer.
        """
        now, written = time.time(), self._written + size + ROW
        if now >= self._next_expiry or self._until_check <= 1 or written >= self._room // 8:
            return False
        if connection.execute(_ADD, (key, now, expires, now, tag, size, None, blob)).rowcount <= 0:
            return False
        self._until_check, self._written = self._until_check - 1, written
        return True

    def save(self, key: bytes, value: tuple[int, str | None, bytes | None], expires: float | None, tag: str) -> bool:
        """What `set` does, with the moment of expiry as it was given, and in a fifth less time.

        Returns:
            Whether there was a row of the same key.
        """
        work, now = self._work, time.time()
        connection, removed = work.connection, work.removed
        assert connection is not None
        size, filename, blob = value
        self._written += size + ROW
        execute = connection.execute
        own = not connection.in_transaction
        if own:
            execute("BEGIN IMMEDIATE")
        try:
            row = execute(_FIND, (key,)).fetchone()
            if row is None:
                execute(_INSERT, (key, now, expires, now, tag, size, filename, blob))
            else:
                removed.append(row[1])
                execute(_UPDATE, (now, expires, now, tag, size, filename, blob, row[0]))
            self._cull(now, execute, removed.append)
            if own:
                execute("COMMIT")
        except BaseException:
            if own and connection.in_transaction:
                connection.rollback()
            raise
        return row is not None

    def _cull(self, now: float, sql: Any, cleanup: Callable[[Any], None], limit: int | None = None) -> None:
        """Remove expired rows, then the least recently used ones, but no more than needed, and never that of now."""
        if now >= self._next_expiry:
            self._next_expiry = now + _EXPIRY_INTERVAL
            expired = "SELECT rowid, filename, size FROM Cache WHERE expire_time < ? LIMIT 1000"
            self._forget(sql, cleanup, expired, (now,))
        self._until_check -= 1
        if self._until_check > 0 and self._written < self._room // 8:
            return
        over = self.volume() - self.size_limit
        self._until_check, self._written, self._room = _CHECK_INTERVAL, 0, max(0, -over)
        if over > 0:
            self.write_touched()
            # Entries from the future go first, or they would never go, and nothing new could stay. They were written
            # with a wrong clock.
            ahead = "SELECT rowid, filename, size FROM Cache WHERE access_time > ?"
            excess = self._forget(sql, cleanup, ahead, (now + _AHEAD,), over)
            least = "SELECT rowid, filename, size FROM Cache WHERE access_time < ? ORDER BY access_time"
            self._forget(sql, cleanup, least, (now,), excess)

    @staticmethod
    def _forget(
        sql: Any, cleanup: Callable[[Any], None], select: str, arguments: tuple[Any, ...], excess: float = float("inf")
    ) -> float:
        """Remove what `select` finds until there is no more excess; what is left of that."""
        doomed: list[tuple[int]] = []
        for rowid, filename, size in sql(select, arguments):
            if excess <= 0:
                break
            excess -= (size if isinstance(size, int) else 0) + ROW
            doomed.append((rowid,))
            if filename is not None:
                cleanup(filename)
        for row in doomed:
            sql("DELETE FROM Cache WHERE rowid = ?", row)
        return excess

    def execute(self, statement: str, arguments: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self._con.execute(statement, arguments)
        return cursor

    def count(self) -> int:
        """How many rows there are, expired ones included."""
        (count,) = self.execute("SELECT COUNT(*) FROM Cache").fetchone()
        return int(count)

    def claims(self, key: bytes) -> bool:
        """Whether the entry is there and in a file."""
        statement = "SELECT 1 FROM Cache WHERE key = ? AND raw = 1 AND value IS NULL"
        return self.execute(statement, (key,)).fetchone() is not None

    def drop_without_file(self, exists: Callable[[bytes, Any], bool]) -> None:
        """Remove rows whose file is not there, or that name another file than theirs."""
        statement = "SELECT rowid, key, filename FROM Cache WHERE filename IS NOT NULL"
        if all(exists(key, filename) for _, key, filename in self.execute(statement).fetchall()):
            return
        with self.transact():
            for rowid, key, filename in self.execute(statement).fetchall():
                if not exists(key, filename):
                    self.execute("DELETE FROM Cache WHERE rowid = ?", (rowid,))

    def shorten_log(self) -> None:
        """Bring what is in SQLite's log to where it belongs, and give its room back, as far as others let us."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def volume(self) -> int:
        """Bytes of all entries, with what their rows take."""
        row = self.execute("SELECT value FROM Settings WHERE key = 'size'").fetchone()
        if row is None or not isinstance(row[0], int):
            raise WrongSchema("the index does not say how large it is")
        return row[0]

    def reset(self, key: str, value: Any = None, update: bool = True) -> Any:
        """As shipped this makes attributes and PRAGMAs of rows; here no row is a setting."""
        raise AssertionError("diskcache reads no settings here")

    def write_touched(self) -> None:
        """Write when entries were last used, if anybody may want to know: half of the room is taken."""
        touched, self.touched = self.touched, {}
        if touched and self.volume() > self.size_limit // 2:
            with self.transact():
                for key, moment in touched.items():
                    self.execute(_TOUCH, (moment, key, moment))


def connect(directory: str, timeout: float, *, writable: bool) -> Connection:
    """A connection to an index that exists and has our schema, or an `sqlite3.Error`."""
    path = os.path.join(directory, NAME)
    if writable:
        how = "mode=rw"
    elif os.path.exists(path + "-wal"):
        how = "mode=ro"
    else:
        # Nobody has it open, and in a directory without write access SQLite could not make its log.
        how = "immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(path)}?{how}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )
    connection.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
    try:
        # No memory map: a truncated database must give an error, not a signal. No functions from a planted schema.
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
        if found != SCHEMA:
            raise WrongSchema("its tables are not those of this version")
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: str, mode: int) -> None:
    """Make an empty index at `path`, where nothing is yet."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
    os.chmod(path, mode)
    connection = sqlite3.connect(path, isolation_level=None, factory=Connection)
    try:
        for statement in (f"PRAGMA page_size={_PAGE}", "PRAGMA auto_vacuum=FULL", "PRAGMA journal_mode=WAL", "BEGIN"):
            connection.execute(statement)
        for statement in SCHEMA.values():
            connection.execute(statement)
        connection.execute("INSERT INTO Settings VALUES ('size', 0)")
        connection.execute("COMMIT")
    finally:
        connection.close()


def is_corrupt(error: Exception) -> bool:
    """Whether the database itself is at fault, and will stay so."""
    if isinstance(error, WrongSchema | UnicodeError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code == _SHORT_READ or code & 0xFF in _CORRUPT


def is_full(error: BaseException) -> bool:
    """Whether there is no room to write."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, sqlite3.Error) and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
