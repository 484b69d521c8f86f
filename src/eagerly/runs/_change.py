"""`Change`: what is to become of a run; and `changed`, the only place that says whether it may.

Nothing in this file reads or writes a store. A store calls `changed` while nobody else can change the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from eagerly.errors import InvalidTransition, OptionValueError
from eagerly.runs._payload import Payload
from eagerly.runs._record import RunRecord
from eagerly.runs._status import TRANSITIONS, RunStatus, sources_of

__all__ = ["CHANGEABLE", "UNSTARTED", "Change", "Moved", "changed"]

CHANGEABLE: Final = frozenset(
    {
        *("progress", "step", "steps", "message", "progress_data"),
        *("attempt", "cached", "output_summary", "error", "cancel_reason", "owner"),
    }
)
"""The fields that `Change.values` may have."""

UNSTARTED: Final = "stopped before it began"
"""Why a run is cancelled that was asked to stop while it was pending."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_STAMPS: Final = {
    RunStatus.RUNNING: "started_at",
    RunStatus.PAUSED: "paused_at",
    RunStatus.COMPLETED: "completed_at",
    RunStatus.FAILED: "failed_at",
    RunStatus.CANCELLED: "cancelled_at",
}


class Change(NamedTuple):
    """What is to become of one run, all of it at once or nothing.

    Attributes:
        run_id: Which run.
        at: When, in microseconds since 1970.
        status: What it is to become; None: what it is.
        values: Fields among `CHANGEABLE`.
        output: What it has given.
        pickled_error: The exception itself, for those who trust the store.
        owner: Refuse unless this is the owner of the run.
        sources: Refuse unless the run is one of these; None: what the table says.
        stop: Ask it to stop. One that has not begun is cancelled; one that has ended stays as it is.
        heed_stop: Make ``completed`` to ``cancelled`` if the run was asked to stop.
        family: What is to become of its live descendants, in the same transaction; with any `run_id`.
    """

    run_id: str
    at: int
    status: RunStatus | None = None
    values: Mapping[str, Any] = _NOTHING
    output: Payload | None = None
    pickled_error: bytes | None = None
    owner: str | None = None
    sources: tuple[RunStatus, ...] | None = None
    stop: bool = False
    heed_stop: bool = False
    family: Change | None = None


class Moved(NamedTuple):
    """What a store has done to a run.

    Attributes:
        before: What it was; None for a new one.
        after: What it is. The same object as `before` if nothing was to be done.
        family: What was done to its descendants.
    """

    before: RunRecord | None
    after: RunRecord
    family: tuple[Moved, ...] = ()


def changed(record: RunRecord, change: Change) -> RunRecord:
    """What `record` becomes by `change`; `record` itself if nothing is to be done.

    Raises:
        InvalidTransition: The table does not allow it, the run has ended, or it has another owner.
        OptionValueError: It would be at a step beyond the last, or have an error without having failed.
    """
    if change.stop:
        return _stopped(record, change)
    wanted = _wanted(record, change)
    made = record._replace(**change.values, updated_at=_later(record, change))
    if change.output is not None:
        made = made._replace(output_form=change.output.form, output_blob=change.output.blob)
    if wanted is not None:
        made = _stamped(made, wanted, change.at)
    return _with_progress(made, change.values)


def _later(record: RunRecord, change: Change) -> int:
    """Of two states of a run the later one is the one that looks later, also if the clock was set back in between."""
    return max(change.at, record.updated_at + 1)


def _stopped(record: RunRecord, change: Change) -> RunRecord:
    if record.status.final:
        return record
    asked_at = record.stop_requested_at or change.at
    if record.status is not RunStatus.PENDING:
        return record._replace(stop_requested_at=asked_at, updated_at=_later(record, change))
    reason = change.values.get("cancel_reason") or UNSTARTED
    made = _stamped(record, RunStatus.CANCELLED, change.at)
    return made._replace(stop_requested_at=asked_at, updated_at=_later(record, change), cancel_reason=reason)


def _wanted(record: RunRecord, change: Change) -> RunStatus | None:
    """What the run is to become; refuses what it cannot."""
    current, wanted = record.status, change.status
    if change.owner is not None and record.owner != change.owner:
        raise _refusal(record, change, f"belongs to {record.owner or 'no process'}, not to {change.owner}")
    if wanted is None:
        if current.final:
            raise _refusal(record, change, f"is {current}, which is final: nothing of it can be changed any more")
        return None
    if change.sources is not None and current not in change.sources:
        raise _refusal(record, change, f"is {current} and no longer {' or '.join(change.sources)}")
    if wanted not in TRANSITIONS[current]:
        raise _refusal(record, change, f"is {current} and cannot become {wanted}: {_ways(current, wanted)}")
    asked = change.heed_stop and record.stop_requested_at is not None
    return RunStatus.CANCELLED if asked and wanted is RunStatus.COMPLETED else wanted


def _stamped(made: RunRecord, wanted: RunStatus, at: int) -> RunRecord:
    stamp = _STAMPS[wanted]
    if wanted is RunStatus.COMPLETED:
        made = made._replace(progress=1.0)
    if wanted is RunStatus.RUNNING and made.started_at is not None:
        at = made.started_at
    fields: dict[str, Any] = {stamp: at}
    return made._replace(status=wanted, **fields)


def _with_progress(made: RunRecord, values: Mapping[str, Any]) -> RunRecord:
    if made.step is not None and made.steps is not None:
        if made.step > made.steps:
            raise OptionValueError(f"step {made.step} of {made.steps}: a step must not be greater than steps")
        if ("step" in values or "steps" in values) and "progress" not in values and not made.status.final:
            made = made._replace(progress=made.step / made.steps if made.steps else 1.0)
    if made.error is not None and made.status is not RunStatus.FAILED:
        raise OptionValueError(f"a run that is {made.status} has no error; write status='failed' with error=...")
    return made


def _ways(current: RunStatus, wanted: RunStatus) -> str:
    following = TRANSITIONS[current]
    ways = f"{current} is final" if not following else f"from there it can become {', '.join(following)}"
    sources = sources_of(wanted)
    return f"{ways}; {wanted} can become what is {' or '.join(sources)}" if sources else f"{ways}; nothing can"


def _refusal(record: RunRecord, change: Change, why: str) -> InvalidTransition:
    return InvalidTransition(
        f"run {record.id} {why}", run_id=record.id, current=record.status, wanted=change.status or ""
    )
