"""`RunRecord`: what a store keeps of one run. Plain data: nothing here reads or writes anything.

Its fields are the columns of the table, in the same order. Times are whole microseconds since 1970 in UTC, taken by the
process that writes: they sort, they compare, and every SQLite and every Python can handle them.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from eagerly.runs._status import RunStatus

__all__ = ["CALL", "RUN", "WORKFLOW", "RunError", "RunRecord", "duration_of", "microseconds", "moment", "new_id", "now"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


RUN: Final = "run"
"""A run of its own: submitted, or made by ``runs.create``."""

CALL: Final = "call"
"""What a caller has waited for: recorded, but not executed for its record."""

WORKFLOW: Final = "workflow"
"""The same of a workflow, above what its body has called."""


class RunError(NamedTuple):
    """Why a run has failed.

    Attributes:
        type: The name of the class of the exception, as in ``ValueError``.
        message: What it says.
        traceback: As text, or empty.
        kind: ``"error"``: the body has raised it; ``"lost"``: the process of the run has ended; ``"exit"``: a
            program has ended with another exit code than 0, and ``traceback`` is what it has said; others as their
            writers please.
    """

    type: str
    message: str
    traceback: str = ""
    kind: str = "error"


class RunRecord(NamedTuple):
    """One run, as a store keeps it.

    Attributes:
        seq: Its place in the order in which the store got them; 0 before that.
        id: ``run_...``.
        task: The name of what is run.
        status: What it is.
        created_at, updated_at: In microseconds since 1970, as all times are here.
        root_id: The run at the top of its tree; its own id if it has no parent.
        parent_id: The run on whose behalf it was made.
        session_id: The session that it belongs to.
        task_version: The version of the task.
        name: A name for people.
        inputs: As JSON, or None.
        input_summary: What to show of them.
        output_form: How the output is encoded, ``"json"`` or ``"pickle"``; None if there is none.
        output_blob: The SHA-256 of an output that is too large for the row.
        output_summary: What to show of it.
        progress: From 0 to 1.
        step, steps: Where it is, and of how many.
        message: What it does at the moment.
        progress_data: As JSON, or None.
        attempt: 1 for the first; 0 before it.
        cached: Whether the result was found in the cache.
        error: Why it has failed.
        cancel_reason: Why it was cancelled.
        stop_requested_at: When it was asked to stop.
        tags: Words to find it by.
        owner: The process that runs it; None if another program does that by `eagerly.runs.update`.
        started_at, paused_at, completed_at, failed_at, cancelled_at: When it last became that; `started_at`: first.
        idempotency_key: No two runs of a store have the same.
        kind: ``"run"``; ``"call"`` or ``"workflow"``: its caller has waited for it and has got its result.
    """

    seq: int
    id: str
    task: str
    status: RunStatus
    created_at: int
    updated_at: int
    root_id: str
    parent_id: str | None = None
    session_id: str | None = None
    task_version: str | None = None
    name: str | None = None
    inputs: str | None = None
    input_summary: str | None = None
    output_form: str | None = None
    output_blob: str | None = None
    output_summary: str | None = None
    progress: float = 0.0
    step: int | None = None
    steps: int | None = None
    message: str | None = None
    progress_data: str | None = None
    attempt: int = 0
    cached: bool = False
    error: RunError | None = None
    cancel_reason: str | None = None
    stop_requested_at: int | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    started_at: int | None = None
    paused_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    cancelled_at: int | None = None
    idempotency_key: str | None = None
    kind: str = RUN


def new_id(sort: str = "run") -> str:
    """An id that nobody else has: ``run_`` and 24 hexadecimal digits.

    They are random from the first on, so that few of them are enough to say which run is meant.
    """
    return f"{sort}_{secrets.token_hex(12)}"


def now() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1000


def moment(stamp: int) -> datetime:
    """What a time of a record is, in UTC."""
    return _EPOCH + timedelta(microseconds=stamp)


def microseconds(when: datetime) -> int:
    """What `when`, which knows its offset, is in a record."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def duration_of(record: RunRecord) -> float | None:
    """Seconds from the start to the end, or until now; None if it has not started."""
    if record.started_at is None:
        return None
    end = record.updated_at if record.status.final else now()
    return max(end - record.started_at, 0) / 1e6
