"""From a record to a row and back, and from a query to SQL. Question marks stand for parameters in every dialect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from eagerly.runs._query import Query
from eagerly.runs._record import RunError, RunRecord
from eagerly.runs._schema import COLUMNS
from eagerly.runs._status import RunStatus

__all__ = ["INSERT", "MANY", "SEVERAL", "TAG", "insertion", "marks", "record_of", "row_value", "select", "select_count"]

_PLACE: Final = {name: number for number, name in enumerate(RunRecord._fields)}
_STATUS, _CACHED, _ERROR, _TAGS = (_PLACE[name] for name in ("status", "cached", "error", "tags"))
_STATUSES: Final = {str(status): status for status in RunStatus}

INSERT: Final = (
    f"INSERT INTO runs ({', '.join(RunRecord._fields[1:])}) VALUES ({', '.join('?' * (len(RunRecord._fields) - 1))})"
    " ON CONFLICT DO NOTHING"
)
"""Adds nothing if there is a run with this key, or this very record: one that is written again."""
MANY: Final = 100

SEVERAL: Final = (
    f"INSERT INTO runs ({', '.join(RunRecord._fields[1:])}) VALUES "
    + ", ".join([f"({', '.join('?' * (len(RunRecord._fields) - 1))})"] * MANY)
    + " ON CONFLICT DO NOTHING"
)
"""Adds `MANY` rows: one statement lets go of the interpreter once, where so many would quarrel over it."""

_HAS_TAG: Final = "EXISTS (SELECT 1 FROM run_tags WHERE run_tags.tag = ? AND run_tags.seq = runs.seq)"
TAG: Final = "INSERT INTO run_tags (tag, seq) SELECT ?, seq FROM runs WHERE id = ? ON CONFLICT DO NOTHING"


def record_of(row: Sequence[Any]) -> RunRecord:
    """The record of a row of `COLUMNS`."""
    values = list(row)
    values[_STATUS] = _STATUSES[values[_STATUS]]
    values[_CACHED] = bool(values[_CACHED])
    if values[_ERROR] is not None:
        values[_ERROR] = RunError(*json.loads(values[_ERROR]))
    values[_TAGS] = () if values[_TAGS] == "[]" else tuple(json.loads(values[_TAGS]))
    return RunRecord._make(values)


def row_value(name: str, value: Any) -> Any:
    """What a field of a record is in its column."""
    if name in ("error", "tags"):
        return None if value is None else json.dumps(value)
    if name == "status":
        return str(value)
    return int(value) if name == "cached" else value


def insertion(record: RunRecord) -> list[Any]:
    """The parameters of `INSERT`."""
    values: list[Any] = list(record)
    values[_STATUS] = str(record.status)
    values[_CACHED] = int(record.cached)
    values[_ERROR] = None if record.error is None else json.dumps(record.error)
    values[_TAGS] = json.dumps(record.tags) if record.tags else "[]"
    return values[1:]


def select(query: Query) -> tuple[str, list[Any]]:
    """The statement for a page of `query`, and its parameters."""
    conditions, values = _conditions(query)
    key = "created_at" if query.order_by == "created" else "updated_at"
    if query.after is not None:
        conditions.append(f"({key}, seq) {'<' if query.descending else '>'} (?, ?)")
        values += query.after
    way = "DESC" if query.descending else "ASC"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        f"SELECT {COLUMNS} FROM runs{where} ORDER BY {key} {way}, seq {way} LIMIT ? OFFSET ?",
        [*values, query.limit, query.offset],
    )


def select_count(query: Query) -> tuple[str, list[Any]]:
    """The statement that counts what `query` matches on all pages."""
    conditions, values = _conditions(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT COUNT(*) FROM runs{where}", values


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    statuses = tuple(map(str, query.statuses or ()))
    found: list[tuple[bool, str, Sequence[Any]]] = [
        (query.task is not None, "task = ?", (query.task,)),
        (query.statuses is not None, f"status IN ({marks(statuses)})", statuses),
        (query.ids is not None, f"id IN ({marks(query.ids or ())})", query.ids or ()),
        (query.parent is None, "parent_id IS NULL", ()),
        (isinstance(query.parent, str), "parent_id = ?", (query.parent,)),
        (query.session is not None, "session_id = ?", (query.session,)),
        *((True, _HAS_TAG, (tag,)) for tag in query.tags or ()),
        (query.since is not None, "created_at >= ?", (query.since,)),
        (query.until is not None, "created_at < ?", (query.until,)),
    ]
    asked = [(condition, values) for given, condition, values in found if given]
    return [condition for condition, _ in asked], [value for _, values in asked for value in values]


def marks(values: Sequence[Any]) -> str:
    """What stands for these in a statement."""
    return ", ".join("?" * len(values))
