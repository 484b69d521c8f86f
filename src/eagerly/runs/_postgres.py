"""`PostgresRunStore`: runs in a PostgreSQL database, for many machines. Only this module and `_leases` talk to psycopg.

Rows, statements and the rule of change are those of SQLite. What differs: a change locks its row only; large outputs
are rows of a table; who waits is told by NOTIFY; and an owner has ended when it has not renewed its lease.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from eagerly._numbers import seconds
from eagerly._paths import masked
from eagerly.errors import MissingExtraError, OptionTypeError, OptionValueError, OutputMissing, RunsError
from eagerly.runs._blobs import pack, unpack
from eagerly.runs._connections import Connections, at_work
from eagerly.runs._leases import Lease, lease_of, leave
from eagerly.runs._payload import Payload
from eagerly.runs._postgres_schema import prepare
from eagerly.runs._record import RunRecord
from eagerly.runs._sql import Sql, SqlRunStore
from eagerly.runs._waiters import waiters_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    import psycopg

__all__ = ["PostgresRunStore"]

T = TypeVar("T")

INTERVAL: Final = 0.05
"""Seconds for which the watching thread listens before it looks whether somebody new waits."""

_ATTEMPTS: Final = 5  # at a transaction that the server has ended because of another one
_LIMITS: Final = "54"  # the class of errors about what is larger than the server can do
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,40}")


class PostgresRunStore(SqlRunStore):
    """A `RunStore` in a PostgreSQL database (14 or later), which many machines can share.

    Needs ``pip install 'eagerly[postgres]'``. Its tables are in a schema of their own, which the first use makes. A
    process that runs something renews a lease; if it is killed, its runs are lost when the lease has run out.

    Args:
        url: ``postgresql://user:password@host:5432/database``, with the parameters of libpq in its query.
        schema: The name of the schema; stores with different ones know nothing of each other.
        lease: Seconds for which the runs of a process that was killed, or cannot reach the server, are not lost yet.
        timeout: Seconds to wait for a connection and for locks of others.
        trusted: Whether only programs of yours can write there. Else pickles are not read.

    Raises:
        MissingExtraError: psycopg is not installed.
        OptionTypeError, OptionValueError: An argument cannot work.

    Example:
        >>> store = PostgresRunStore("postgresql://worker@db.internal/runs")  # doctest: +SKIP
        >>> with session(run_store=store):  # doctest: +SKIP
        ...     runs.list(status="running")
    """

    _for_update = " FOR NO KEY UPDATE"
    _for_tree = " FOR UPDATE"

    def __init__(
        self,
        url: str,
        *,
        schema: str = "eagerly",
        lease: float = 15.0,
        timeout: float = 30.0,
        trusted: bool = False,
    ) -> None:
        if not isinstance(url, str):
            raise OptionTypeError(f"PostgresRunStore(url) takes a str such as 'postgresql://host/db', not {url!r}")
        if url.partition("://")[0] not in ("postgresql", "postgres"):
            raise OptionValueError(
                f"PostgresRunStore({masked(url)!r}) is no address of a database; write"
                " 'postgresql://user@host:5432/database'"
            )
        if not _SCHEMA.fullmatch(schema):
            raise OptionValueError(
                f"PostgresRunStore(schema={schema!r}): a name of small letters, digits and '_', 41 at most"
            )
        if not isinstance(trusted, bool):
            raise OptionTypeError(f"PostgresRunStore(trusted=...) takes True or False, not {trusted!r}")
        if sys.modules.get("psycopg") is None and importlib.util.find_spec("psycopg") is None:
            raise MissingExtraError(
                "PostgresRunStore needs the package 'psycopg', which is not installed: pip install 'eagerly[postgres]'"
            )
        self._url = url
        self.schema = schema
        self.lease = seconds("PostgresRunStore(lease=...)", lease, positive=True)
        self.timeout = seconds("PostgresRunStore(timeout=...)", timeout, positive=True)
        self.trusted = trusted
        self.place = f"{masked(url)} (schema {schema})"
        self._begin()

    def __repr__(self) -> str:
        return f"PostgresRunStore({masked(self._url)!r}, schema={self.schema!r})"

    def __reduce__(self) -> tuple[object, ...]:
        options = {name: getattr(self, name) for name in ("schema", "lease", "timeout", "trusted")}
        return _remade, (self._url, options)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._prepared = 0  # the process in which that was done
        self._connections = Connections(
            functools.partial(_connect, self._url, self.schema, self.timeout), closed_in_child=False
        )
        self._key = f"{self._url} {self.schema}"
        self._waiters = waiters_of(self._key)
        self._channel = f"eagerly_runs_{self.schema}"

    @property
    def address(self) -> str:
        """What `open_run_store` takes to open it, password included."""
        return f"{self._url}{'&' if '?' in self._url else '?'}schema={self.schema}"

    def owner(self) -> str:
        """The id of this process as an owner of runs. A thread renews its lease from now on."""
        return self._lease().owner

    def close(self) -> None:
        """Close the connections, and renew no lease for this store any more. The next use opens new ones."""
        leave(self._key, self)
        self._connections.close()

    def open_probe(self) -> _Listener:
        """What notices that another process has written."""
        self._open()
        with self._translated():
            return _Listener(self._connections.apart(), self._channel, self._translated)

    # Transactions

    def _read(self, work: Callable[[Sql], T]) -> T:
        self._open()
        with self._translated(), self._lent() as connection:
            return work(_Statements(connection))

    def _write(self, work: Callable[[Sql], T]) -> T:
        self._open()
        psycopg = _psycopg()
        again = psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure
        with self._translated():
            for attempt in range(_ATTEMPTS):
                with self._lent() as connection:
                    try:
                        with connection.transaction():
                            return work(_Statements(connection))
                    except again:
                        if attempt == _ATTEMPTS - 1:
                            raise
        raise AssertionError("the last attempt has raised")

    @contextmanager
    def _lent(self) -> Generator[Any]:
        """A connection that the server knows: it may have been restarted since the last use."""
        with self._connections.lent() as connection:
            stale = False
            try:
                if connection.info.transaction_status and not connection.closed:
                    connection.rollback()
                connection.execute("SELECT 1", prepare=True)
            except _psycopg().OperationalError:
                stale = True
            if not stale:
                yield connection
                return
        self._connections.close()
        with self._connections.lent() as connection:
            yield connection

    def _open(self) -> None:
        """Make sure that the tables are there, and that what others have left is seen to."""
        if self._prepared == os.getpid():
            return
        with at_work(), self._lock:
            with self._translated(), self._connections.lent() as connection:
                prepare(_Statements(connection), connection, self.schema, masked(self._url))
            self._prepared = os.getpid()
        with suppress(RunsError):  # a user that only can read
            self.recover()

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Make a `RunsError` of what psycopg raises in the block; one that may pass says so."""
        psycopg = _psycopg()
        try:
            yield
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise RunsError(f"the run store {self.place} can only be read: {error}") from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise RunsError(
                f"the user of the run store {self.place} lacks a right: {error}. Let one that has it make the schema"
                f" once, or run `GRANT CREATE ON DATABASE ... TO ...`"
            ) from error
        except psycopg.Error as error:
            found = RunsError(f"the run store {self.place} cannot be used: {type(error).__name__}: {error}")
            beyond = (error.sqlstate or "").startswith(_LIMITS)  # a word that is too long for an index stays so
            vars(found)["passing"] = isinstance(error, psycopg.OperationalError) and not beyond
            raise found from error

    # Large outputs

    def _stage(self, payload: Payload) -> tuple[str | None, bytes]:
        return payload.blob, pack(payload.data)

    def _keep(self, sql: Sql, staged: tuple[str, bytes]) -> None:
        # Whoever removes outputs waits until this transaction has told that its own has a run.
        sql.execute("SELECT pg_advisory_xact_lock_shared(hashtext(?))", (self._channel,))
        sql.execute("INSERT INTO run_blobs (sha256, data) VALUES (?, ?) ON CONFLICT DO NOTHING", staged)

    def _load(self, blob: str, run_id: str) -> bytes:
        statement = "SELECT data FROM run_blobs WHERE sha256 = ?"
        row = self._read(lambda sql: sql.execute(statement, (blob,)).fetchone())
        if row is None:
            raise OutputMissing(f"the output of run {run_id} is gone: run_blobs has no row {blob}", run_id=run_id)
        return unpack(bytes(row[0]), blob, run_id, f"row {blob} of run_blobs")

    def _sweep(self) -> None:
        def work(sql: Sql) -> None:
            sql.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (self._channel,))
            sql.execute(
                "DELETE FROM run_blobs WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.output_blob = run_blobs.sha256)"
            )

        self._write(work)

    # Other processes

    def _hold(self, sql: Sql, records: Iterable[RunRecord]) -> None:
        live = [each for each in records if each.parent_id is not None and not each.status.final]
        above = {run_id for each in live for run_id in (each.parent_id, each.root_id)}
        if above:  # in the order in which all lock them
            sql.execute("SELECT 1 FROM runs WHERE id = ANY(?) ORDER BY seq FOR KEY SHARE", (list(above),))

    def _told(self, sql: Sql, records: Iterable[RunRecord]) -> None:
        changed = [record.id for record in records]
        if changed:
            sql.execute("SELECT pg_notify(?, id) FROM unnest(?::text[]) AS id", (self._channel, changed))

    def _lease(self) -> Lease:
        return lease_of(self._key, self, self.lease)

    def _dead(self, owners: Sequence[str]) -> list[str]:
        statement = "SELECT id FROM run_owners WHERE id = ANY(?) AND expires_at > now()"
        alive = self._read(lambda sql: {row[0] for row in sql.execute(statement, (list(owners),))})
        return [owner for owner in owners if owner.startswith("own_") and owner not in alive]

    def _bury_runs(self, owner: str, sql: Sql) -> list[RunRecord]:
        # In the same transaction, as the owner may have been slow and have renewed its lease just now.
        sql.execute("DELETE FROM run_owners WHERE id = ? AND expires_at <= now()", (owner,))
        if sql.execute("SELECT 1 FROM run_owners WHERE id = ? FOR UPDATE", (owner,)).fetchone() is not None:
            return []
        return super()._bury_runs(owner, sql)

    def _bury(self, owner: str) -> None:
        """Its row went together with its runs."""


class _Statements:
    """A connection that takes the statements of every dialect."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Any:
        return self._connection.execute(_with_percent(statement), parameters)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        cursor = self._connection.cursor()
        cursor.executemany(_with_percent(statement), list(parameters))
        return cursor


class _Listener:
    """What the server tells by NOTIFY."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        channel: str,
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._translated = translated
        connection.execute(f"LISTEN {channel}")  # type: ignore[arg-type, unused-ignore]  # a checked name

    def pause(self, fresh: threading.Event) -> bool:
        with self._translated():  # a server that is restarted ends this connection, and who waits goes on waiting
            told = [*self._connection.notifies(timeout=0 if fresh.is_set() else INTERVAL, stop_after=1)]
        return bool(told)

    def close(self) -> None:
        self._connection.close()


def _connect(url: str, schema: str, timeout: float) -> Any:
    connection = _psycopg().connect(
        url, autocommit=True, connect_timeout=max(round(timeout), 2), application_name="eagerly"
    )
    connection.execute(f"SET search_path TO {schema}; SET lock_timeout = {int(timeout * 1000)}")
    return connection


def _psycopg() -> Any:
    return import_module("psycopg")


@functools.lru_cache(maxsize=256)
def _with_percent(statement: str) -> str:
    return statement.replace("?", "%s")


def _remade(url: str, options: dict[str, Any]) -> PostgresRunStore:
    return PostgresRunStore(url, **options)
