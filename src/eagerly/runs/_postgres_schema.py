"""The schema of a run store in PostgreSQL: made by whoever comes first, one at a time, and brought up to date."""

from __future__ import annotations

from typing import Any, Final

from eagerly.errors import RunsError
from eagerly.runs._schema import POSTGRES, VERSION, statements
from eagerly.runs._sql import Sql

__all__ = ["prepare"]

_BESIDE: Final = (
    "CREATE TABLE run_meta (version bigint NOT NULL)",
    "INSERT INTO run_meta VALUES (0)",
    "CREATE TABLE run_blobs (sha256 text PRIMARY KEY, data bytea NOT NULL)",
    "CREATE TABLE run_owners (id text PRIMARY KEY, expires_at timestamptz NOT NULL)",
)
"""What SQLite has in its header and in files."""


def prepare(sql: Sql, connection: Any, schema: str, url: str) -> None:
    """Make the tables if there are none, and bring them up to date.

    Raises:
        RunsError: They are those of a newer version.
    """
    if _version(sql, schema) == VERSION:
        return
    with connection.transaction():
        sql.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (f"eagerly schema {schema}",))
        version = _version(sql, schema)
        if version > VERSION:
            raise RunsError(
                f"the run store {url} (schema {schema}) was written by a newer eagerly (its version is {version}, and"
                f" this one knows {VERSION}), and is left as it is. Upgrade with `pip install --upgrade eagerly`, or"
                " give another schema"
            )
        if version < 0:
            sql.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for statement in _BESIDE:
                sql.execute(statement)
        for statement in statements(POSTGRES, max(version, 0)):
            sql.execute(statement)
        sql.execute("UPDATE run_meta SET version = ?", (VERSION,))


def _version(sql: Sql, schema: str) -> int:
    """The version of the tables; -1 if there are none."""
    if sql.execute("SELECT to_regclass(?)", (f"{schema}.run_meta",)).fetchone()[0] is None:
        return -1
    return int(sql.execute(f"SELECT version FROM {schema}.run_meta").fetchone()[0])
