"""`Entry`: what is noted of one call while it is made; and what becomes of it in a store. Nothing here writes.

It refers to nothing of the user's: arguments and results are noted as text, as they are at that moment.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

from eagerly.runs._change import Change
from eagerly.runs._limits import clean
from eagerly.runs._record import CALL, RunError, RunRecord
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly.runs._protocol import RunStore

__all__ = ["CLOSED", "Entry", "attempt_of", "begun", "ended"]

CLOSED: Final = "closed before its end"
"""Why a stream is cancelled that its consumer has left."""

_clean: Final = functools.lru_cache(maxsize=1024)(clean)


class Entry:
    """One call that is recorded.

    Args:
        store: Where to.
        run_id: Its id there.
        above: What it was called by, and is recorded there too: another one, or a run; or None.
        task: What is called.
        label: Its name for people, where that is another; else None.
        session: The id of its session, or None.
        inputs: What to show of its arguments.
        tags: Words to find it by.
        version: The version of the task, or None.
        kind: ``"call"`` or ``"workflow"``.

    Attributes:
        started: In microseconds since 1970.
        ended: The same; 0 as long as it has not.
        tried: Whether the store was given it as running, whatever came of that.
        written: Whether the store has it.
        noted: The attempt that the store has.
    """

    __slots__ = (
        *("attempt", "cached", "ended", "error", "id", "inputs", "kind", "label", "noted", "output", "parent_id"),
        *("reason", "root_id", "session", "started", "status", "store", "tags", "task", "tried"),
        *("version", "written"),
    )

    def __init__(
        self,
        store: RunStore,
        run_id: str,
        above: Any,
        task: str,
        label: str | None,
        session: str | None,
        inputs: str,
        tags: frozenset[str],
        version: str | None = None,
        kind: str = CALL,
    ) -> None:
        self.store = store
        self.id = run_id
        if above is None:
            self.parent_id: str | None = None
            self.root_id: str = run_id
        else:
            self.parent_id = above.id
            self.root_id = above.root_id
        self.task = task
        self.label = label
        self.session = session
        self.inputs = inputs
        self.tags = tags
        self.version = version
        self.kind = kind
        self.started = time.time_ns() // 1000
        self.ended = 0
        self.attempt = 1
        self.noted = 1
        self.cached = False
        self.tried = False
        self.written = False
        self.status = RunStatus.RUNNING
        self.output: str | None = None
        self.error: RunError | None = None
        self.reason: str | None = None


def begun(entry: Entry, owner: str) -> RunRecord:
    """The record of a call that is still made."""
    return _record(entry, owner, RunStatus.RUNNING, entry.started)


def ended(entry: Entry, owner: str) -> RunRecord | Change:
    """What has become of a call: a record, or a change of the one that there is."""
    status, at = entry.status, entry.ended
    if not entry.written:
        return _record(entry, owner, status, at)
    values: dict[str, Any] = {"attempt": entry.attempt, "cached": entry.cached}
    if status is RunStatus.COMPLETED:
        values["output_summary"] = entry.output and clean(entry.output)
    elif status is RunStatus.FAILED:
        values["error"] = entry.error
    else:
        values["cancel_reason"] = entry.reason
    return Change(entry.id, at, status, values, owner=owner)


def attempt_of(entry: Entry, owner: str) -> Change:
    """That another attempt is made."""
    return Change(entry.id, time.time_ns() // 1000, values={"attempt": entry.attempt}, owner=owner)


def _record(entry: Entry, owner: str, status: RunStatus, at: int) -> RunRecord:
    completed = status is RunStatus.COMPLETED
    over = status is not RunStatus.RUNNING
    return RunRecord(
        0,
        entry.id,
        _clean(entry.task),
        status,
        entry.started,
        at,
        entry.root_id,
        entry.parent_id,
        entry.session,
        entry.version and _clean(entry.version),
        _clean(entry.task if entry.label is None else entry.label),
        None,
        clean(entry.inputs),
        None,
        None,
        clean(entry.output) if over and entry.output else None,
        1.0 if completed else 0.0,
        attempt=entry.attempt,
        cached=entry.cached,
        error=entry.error if over else None,
        cancel_reason=entry.reason if over else None,
        tags=_tags(entry.tags),
        owner=owner,
        started_at=entry.started,
        completed_at=at if completed else None,
        failed_at=at if status is RunStatus.FAILED else None,
        cancelled_at=at if status is RunStatus.CANCELLED else None,
        kind=entry.kind,
    )


@functools.lru_cache(maxsize=1024)
def _tags(tags: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(map(clean, tags)))
