"""How runs look on a terminal of 80 columns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from eagerly.cli._table import fitted, format_time
from eagerly.runs._protocol import RunStore
from eagerly.runs._query import Query
from eagerly.runs._record import RunRecord, duration_of, moment
from eagerly.runs._run import Run
from eagerly.runs._status import RunStatus

__all__ = ["CHILDREN", "facts_of", "lines_of", "rows_of", "session_facts", "tail_line", "tree_of"]

CHILDREN: Final = 100
"""How many are shown of what one run has made."""

_SHORT: Final = len("run_") + 8
_BEFORE_TASK: Final = 64  # columns that the others take

_SHOWN: Final = (
    *("id", "task", "kind", "task_version", "name", "status", "progress", "step", "steps", "message", "progress_data"),
    *("input_summary", "output_summary", "has_output", "attempt", "cached", "cancel_reason", "tags", "owner"),
    *("session_id", "parent_id", "created_at", "started_at", "paused_at", "stop_requested_at", "completed_at"),
    *("failed_at", "cancelled_at", "duration", "idempotency_key", "error"),
)


def rows_of(runs: Iterable[Run[Any]]) -> list[tuple[str, ...]]:
    """A row for each run."""
    return [
        (run.id[:_SHORT], str(run.status), _done(run), _took(run.duration), format_time(run.created_at), _task(run))
        for run in runs
    ]


def facts_of(run: Run[Any]) -> list[tuple[str, str]]:
    """Name and value of what is known of a run."""
    found = [(name, _plain(name, getattr(run, name))) for name in _SHOWN]
    return [(name, text) for name, text in found if text]


def session_facts(records: list[RunRecord], session: str, count: int) -> list[tuple[str, str]]:
    """What is known of a session, from what was called in it: nobody keeps a record of the session itself."""
    first, last = records[0].created_at, max(record.updated_at for record in records)
    return [
        ("session", session),
        ("has made", f"{count:,}"),
        ("failed", f"{sum(record.status is RunStatus.FAILED for record in records):,}"),
        ("first", format_time(moment(first))),
        ("took", _took((last - first) / 1e6)),
    ]


def tree_of(store: RunStore, run_id: str) -> Iterator[str]:
    """A line for each run that it has made, with those that these have made below."""
    return lines_of(store, _children(store, run_id), _parent(run_id))


def lines_of(store: RunStore, records: list[RunRecord], listed: str) -> Iterator[str]:
    """A line for each of these, with those that they have made below.

    Args:
        store: Where they are.
        records: The first of them.
        listed: What makes ``eagerly runs list`` show all of them.
    """
    levels = [(iter(records[:CHILDREN]), listed if len(records) > CHILDREN else None)]
    while levels:  # no recursion: a chain of runs may be longer than Python can follow in that way
        shown, more = levels[-1]
        record = next(shown, None)
        indent = "  " * len(levels)
        if record is None:
            levels.pop()
            if more is not None:
                yield f"{indent}... and more: eagerly runs list {more}"
            continue
        yield _fitted(f"{indent}{_line(record)}")
        made = _children(store, record.id)
        levels.append((iter(made[:CHILDREN]), _parent(record.id) if len(made) > CHILDREN else None))


def _children(store: RunStore, run_id: str) -> list[RunRecord]:
    """One more than are shown, if there are so many."""
    return store.find(Query(parent=run_id, limit=CHILDREN + 1))


def _parent(run_id: str) -> str:
    return f"--parent {run_id[:_SHORT]}"


def _line(record: RunRecord) -> str:
    notes = [f"{record.attempt} attempts"] if record.attempt > 1 else []
    notes += ["cached"] if record.cached else []
    told = f"  ({', '.join(notes)})" if notes else ""
    if record.error is not None:
        told += f"  {record.error.type or 'error'}: {record.error.message}".splitlines()[0]
    elif record.cancel_reason:
        told += f"  {record.cancel_reason}"
    took = _took(duration_of(record))
    return f"{record.id[:_SHORT]}  {record.status:<9}  {took:>8}  {record.name or record.task}{told}"


def _fitted(line: str) -> str:
    """On a terminal no more than there is room for."""
    room = max(shutil.get_terminal_size().columns, 40)
    return fitted(line, room) if sys.stdout.isatty() else line


def tail_line(record: RunRecord) -> str:
    """When it was changed last, what it is, how far it has come, and why it has ended like this, or what it says."""
    at = format_time(moment(record.updated_at))[-8:]
    said = (record.error.message if record.error else "") or record.cancel_reason or record.message or ""
    if record.steps is not None:
        said = f"{record.step or 0}/{record.steps}  {said}"
    return f"{at}  {record.id[:_SHORT]}  {record.status:<9}  {record.progress:>4.0%}  {said}".rstrip()


def _done(run: Run[Any]) -> str:
    return f"{run.progress:.0%}"


def _task(run: Run[Any]) -> str:
    """The task, or the name that the run has; on a terminal no more than there is room for."""
    label = run.name or run.task
    if not sys.stdout.isatty():
        return label
    return fitted(label, max(shutil.get_terminal_size().columns - _BEFORE_TASK, 8))


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} us"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _plain(name: str, value: Any) -> str:
    if value is None or value == () or (name == "cached" and not value):
        return ""
    if isinstance(value, datetime):
        return format_time(value)
    match name:
        case "progress":
            return f"{value:.0%}"
        case "duration":
            return _took(value)
        case "tags":
            return ", ".join(value)
        case "has_output":
            return "yes" if value else ""
        case "error":
            return f"{value.type}: {value.message}" if value.type else str(value.message)
        case _:
            return str(value)
