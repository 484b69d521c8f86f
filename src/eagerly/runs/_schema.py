"""The tables of a run store, and how a store of an earlier version becomes one of this: one list, in two dialects."""

from __future__ import annotations

from typing import Final

from eagerly.runs._record import RunRecord
from eagerly.runs._status import LIVE

__all__ = ["COLUMNS", "IS_LIVE", "MIGRATIONS", "POSTGRES", "SQLITE", "VERSION", "statements"]

COLUMNS: Final = ", ".join(RunRecord._fields)

IS_LIVE: Final = f"status IN ({', '.join(repr(str(status)) for status in LIVE)})"
"""In words that are those of the index, as a database only then sees that it can use it."""

MIGRATIONS: Final = (
    (
        """CREATE TABLE runs (
            seq {serial},
            id {text} NOT NULL UNIQUE,
            task {text} NOT NULL,
            status {text} NOT NULL,
            created_at {integer} NOT NULL,
            updated_at {integer} NOT NULL,
            root_id {text} NOT NULL,
            parent_id {text},
            session_id {text},
            task_version {text},
            name {text},
            inputs {text},
            input_summary {text},
            output_form {text},
            output_blob {text},
            output_summary {text},
            progress {real} NOT NULL,
            step {integer},
            steps {integer},
            message {text},
            progress_data {text},
            attempt {integer} NOT NULL,
            cached {integer} NOT NULL,
            error {text},
            cancel_reason {text},
            stop_requested_at {integer},
            tags {text} NOT NULL,
            owner {text},
            started_at {integer},
            paused_at {integer},
            completed_at {integer},
            failed_at {integer},
            cancelled_at {integer},
            idempotency_key {text},
            output {bytes},
            pickled_error {bytes}
        )""",
        "CREATE TABLE run_tags (tag {text} NOT NULL, seq {integer} NOT NULL, PRIMARY KEY (tag, seq)) {without_rowid}",
        "CREATE INDEX run_tags_seq ON run_tags (seq)",
        "CREATE INDEX runs_created ON runs (created_at, seq)",
        "CREATE INDEX runs_updated ON runs (updated_at, seq)",
        "CREATE INDEX runs_task ON runs (task, created_at, seq)",
        "CREATE INDEX runs_status ON runs (status, created_at, seq)",
        "CREATE INDEX runs_root ON runs (root_id)",
        "CREATE INDEX runs_parent ON runs (parent_id, created_at, seq) WHERE parent_id IS NOT NULL",
        "CREATE INDEX runs_session ON runs (session_id, created_at, seq) WHERE session_id IS NOT NULL",
        f"CREATE INDEX runs_live ON runs (owner) WHERE {IS_LIVE}",
        "CREATE INDEX runs_blob ON runs (output_blob) WHERE output_blob IS NOT NULL",
        "CREATE UNIQUE INDEX runs_key ON runs (idempotency_key) WHERE idempotency_key IS NOT NULL",
    ),
    ("ALTER TABLE runs ADD COLUMN kind {text} NOT NULL DEFAULT 'run'",),
)
"""For each version of the schema, what makes it from the version before."""

VERSION: Final = len(MIGRATIONS)

SQLITE: Final = {
    "serial": "INTEGER PRIMARY KEY",
    "integer": "INTEGER",
    "real": "REAL",
    "text": "TEXT",
    "bytes": "BLOB",
    "without_rowid": "WITHOUT ROWID",
}
POSTGRES: Final = {
    "serial": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "integer": "bigint",
    "real": "double precision",
    "text": 'text COLLATE "C"',  # ids are compared by their bytes, whatever language the server speaks
    "bytes": "bytea",
    "without_rowid": "",
}


def statements(dialect: dict[str, str], version: int) -> list[str]:
    """What brings the schema from `version` to this one."""
    return [each.format_map(dialect) for migration in MIGRATIONS[version:] for each in migration]
