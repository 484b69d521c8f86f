"""What can be done to one run of a store: made, changed, stopped, cancelled, and asked for what came of it.

The functions of the collection and the methods of a handle are these, with a store. None of them waits for a run.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from eagerly._notes import add_note, in_worker
from eagerly._sentinel import UNSET
from eagerly.errors import (
    EagerlyError,
    OptionTypeError,
    OptionValueError,
    OutputMissing,
    RunCancelled,
    RunFailed,
    RunLost,
    RunNotFound,
    RunsError,
)
from eagerly.runs._change import Change, Moved
from eagerly.runs._limits import MAX_REASON, MAX_SUMMARY, run_error, tag_list, text, unit_interval, whole_number, word
from eagerly.runs._live import LIVE, Live
from eagerly.runs._payload import as_json, decode, encode
from eagerly.runs._protocol import RunStore, Write
from eagerly.runs._record import RUN, RunError, RunRecord, new_id, now
from eagerly.runs._recovery import LOST
from eagerly.runs._status import RunStatus

__all__ = [
    "apply",
    "cancel_run",
    "create_run",
    "items_of",
    "listeners",
    "must_get",
    "new_record",
    "output_of",
    "result_of",
    "run_status",
    "stop_run",
    "update_run",
]

_NULLABLE: Final = ("step", "steps", "message", "progress_data", "output_summary")
"""The fields that ``update()`` clears where it is told None."""

_FRAMES: Final = "Traceback (most recent call last)"
"""In the text of exceptions that were raised, and not only made."""


listeners: Final[list[Callable[[RunStore, Moved], object]]] = []
"""Whom `apply` tells of a run that has become something else."""


def must_get(store: RunStore, run_id: str) -> RunRecord:
    """The run.

    Raises:
        RunNotFound: There is none.
    """
    record = store.get(run_id)
    if record is None:
        raise RunNotFound(f"there is no run {run_id!r} in {store.place}", run_id=run_id)
    return record


def apply(store: RunStore, write: Write) -> Moved:
    """Write one thing, and raise if it was refused."""
    [outcome] = store.write([write])
    if isinstance(outcome, EagerlyError):
        raise outcome
    if LIVE:
        for moved in (outcome, *outcome.family):
            live = LIVE.get(moved.after.id)
            if live is not None:
                live.heard(moved.after)
    for moved in (outcome, *outcome.family):
        if moved.before is None or moved.before.status is not moved.after.status:
            for listener in listeners:
                listener(store, moved)
    return outcome


def new_record(
    store: RunStore,
    task: str,
    inputs: Mapping[str, Any] | None,
    *,
    name: str | None = None,
    parent: str | None = None,
    session_id: str | None = None,
    task_version: str | None = None,
    tags: Iterable[str] = (),
    steps: int | None = None,
    input_summary: str | None = None,
    idempotency_key: str | None = None,
) -> RunRecord:
    """A record of a run that is pending, checked, and not written yet.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.
        OutputNotSerializable: JSON does not have something that is in `inputs`.
        RunNotFound: There is no run `parent`.
    """
    if inputs is not None and not isinstance(inputs, Mapping):
        raise OptionTypeError(f"create(inputs) takes a mapping from names to values, not {inputs!r}")
    run_id, at = new_id(), now()
    return RunRecord(
        seq=0,
        id=run_id,
        task=word("create(task)", task),
        status=RunStatus.PENDING,
        created_at=at,
        updated_at=at,
        root_id=run_id if parent is None else must_get(store, parent).root_id,
        parent_id=parent,
        session_id=session_id,
        task_version=_optional("create(task_version=...)", task_version),
        name=_optional("create(name=...)", name),
        inputs=None if inputs is None else as_json(dict(inputs), "inputs"),
        input_summary=_summary_of(inputs)
        if input_summary is None
        else text("create(input_summary=...)", input_summary, longest=MAX_SUMMARY),
        steps=None if steps is None else whole_number("create(steps=...)", steps),
        tags=tag_list("create(tags=...)", tags),
        idempotency_key=_key(idempotency_key),
    )


def create_run(store: RunStore, record: RunRecord) -> RunRecord:
    """Add the run; or give the one that there is with its idempotency key.

    A parent that is asked to stop tells its children in one transaction. One that is added after it sees that here.
    """
    moved = apply(store, record)
    if moved.before is None and record.parent_id is not None:
        parent = store.get(record.parent_id)
        if parent is not None and (parent.stop_requested_at or parent.status is RunStatus.CANCELLED):
            return apply(store, Change(record.id, now(), stop=True)).after
    return moved.after


def update_run(store: RunStore, run_id: str, given: Mapping[str, Any]) -> Moved:
    """Change what `given` has of a run, all of it at once.

    Raises:
        OptionTypeError, OptionValueError: Nothing is to be changed, or a value cannot work.
        InvalidTransition: The run cannot become that, or has ended.
        OutputNotSerializable: JSON does not have something that is in the output.
        RunNotFound: There is no such run.
    """
    told = {name: value for name, value in given.items() if value is not UNSET}
    if not told:
        raise OptionValueError(f"update() has nothing to change; write update(run, status='running') or {_ways(given)}")
    status = run_status("update(status=...)", told.pop("status")) if "status" in told else None
    output = encode(told.pop("output")) if "output" in told else None
    values = {name: _checked(name, value) for name, value in told.items()}
    return apply(store, Change(run_id, now(), status, values, output))


def stop_run(store: RunStore, run_id: str) -> Moved:
    """Ask a run, and all that it has made and that have not ended, to stop.

    Raises:
        RunNotFound: There is no such run.
        RunsError: It is a call, and no run of its own.
    """
    _refuse_calls(store, run_id, "stopped")
    at = now()
    return apply(store, Change(run_id, at, stop=True, family=Change("", at, stop=True)))


def cancel_run(store: RunStore, run_id: str, reason: str | None) -> Moved:
    """Make a run cancelled, and all that it has made and that have not ended.

    Raises:
        InvalidTransition: It has ended.
        OptionTypeError, OptionValueError: The reason is no string, or too long.
        RunNotFound: There is no such run.
        RunsError: It is a call, and no run of its own.
    """
    if reason is not None:
        reason = text("cancel(reason=...)", reason, longest=MAX_REASON)
    _refuse_calls(store, run_id, "cancelled")
    at = now()
    family = Change("", at, RunStatus.CANCELLED, {"cancel_reason": reason or f"{run_id} was cancelled"})
    return apply(store, Change(run_id, at, RunStatus.CANCELLED, {"cancel_reason": reason}, family=family))


def output_of(store: RunStore, record: RunRecord) -> Any:
    """What the run has given.

    Raises:
        OutputMissing: Nothing, or what it is in has gone.
        OutputCorrupt: It is not what was written.
    """
    payload = store.output(record.id)
    if payload is None and record.kind != RUN:
        raise OutputMissing(
            f"run {record.id} was called, not submitted: its caller has got the result, and the record has a summary of"
            " it only. Write task.submit(...), or cache it, or save it as a dataset",
            run_id=record.id,
        )
    if payload is None:
        raise OutputMissing(f"run {record.id} has no output; it is {record.status}", run_id=record.id)
    return decode(payload, trusted=store.trusted, run_id=record.id)


def items_of(store: RunStore, record: RunRecord) -> list[Any]:
    """The items of a stream that this process does not execute: those that are its output.

    Raises:
        RunFailed: It has failed.
        RunsError: It runs, or its output is no list.
    """
    if not record.status.final:
        raise RunsError(
            f"run {record.id} is executed by another process, which alone has its items now; wait for its end",
            run_id=record.id,
        )
    items = result_of(store, record) if record.output_form is None else output_of(store, record)
    if not isinstance(items, list):
        raise RunsError(f"run {record.id} of task {record.task!r} has no items; write run.result()", run_id=record.id)
    return items  # pyright: ignore[reportUnknownVariableType]  # of whatever


def result_of(store: RunStore, record: RunRecord, live: Live | None = None) -> Any:
    """The output of a run that is completed; None if it has none.

    Args:
        store: Where it is.
        record: The run.
        live: The run itself, where it is known here.

    Raises:
        RunFailed: It has failed, from the exception itself where that was kept.
        RunLost: Its process has ended.
        RunCancelled: It was cancelled.
        OutputMissing, OutputCorrupt: Its output cannot be had any more.
    """
    if record.status is RunStatus.COMPLETED:
        if record.output_form is None and record.kind == RUN:
            return None
        kept = None if live is None else live.kept
        return output_of(store, record) if kept is None else decode(kept, trusted=store.trusted, run_id=record.id)
    if record.status is RunStatus.CANCELLED:
        why = f": {record.cancel_reason}" if record.cancel_reason else ""
        raise RunCancelled(f"run {record.id} was cancelled{why}", run_id=record.id, reason=record.cancel_reason)
    error = record.error
    if error is None:
        raise RunFailed(f"run {record.id} of task {record.task!r} has failed", run_id=record.id)
    what = f"{error.type}: {error.message}" if error.type else error.message
    kind = RunLost if error.kind == LOST else RunFailed
    failure = kind(
        f"run {record.id} of task {record.task!r} has failed: {error.message if error.kind == LOST else what}",
        run_id=record.id,
        error_type=error.type,
        traceback=error.traceback,
    )
    cause = (None if live is None else live.error) or _original(store, record)
    _tell_where(failure if cause is None else cause, record.id, error)
    raise failure from cause


def _refuse_calls(store: RunStore, run_id: str, what: str) -> None:
    """A call belongs to its caller, who waits for it in whatever thread: it cannot be ended from elsewhere."""
    record = must_get(store, run_id)
    if record.kind != RUN and not record.status.final:
        raise RunsError(
            f"run {run_id} is a {record.kind} that its caller waits for, and cannot be {what}; write task.submit(...)"
            " for runs that can be, or end its process",
            run_id=run_id,
        )


def run_status(what: str, value: object) -> RunStatus:
    """A status by its name.

    Raises:
        OptionValueError: There is none.
    """
    try:
        return RunStatus(value)  # type: ignore[arg-type]  # whatever it is
    except ValueError:
        raise OptionValueError(
            f"{what} takes one of {', '.join(map(repr, map(str, RunStatus)))}, not {value!r}"
        ) from None


def _tell_where(shown: BaseException, run_id: str, error: RunError) -> None:
    """Say on an exception where the body has raised it, if it was in another process: then it has no frames itself."""
    if shown.__traceback__ is None and error.kind == "error" and _FRAMES in error.traceback:
        add_note(shown, "eagerly: raised in", f"run {run_id}{in_worker(error.traceback)}")


def _original(store: RunStore, record: RunRecord) -> BaseException | None:
    """The exception itself, if it was kept, and can be read by who can believe the store."""
    pickled = store.pickled_error(record.id) if store.trusted else None
    if pickled is None:
        return None
    try:
        found = pickle.loads(pickled)
    except Exception:  # its class may have gone; its text is in the record
        return None
    return found if isinstance(found, BaseException) else None


def _checked(name: str, value: Any) -> Any:
    what = f"update({name}=...)"
    if value is None and name in _NULLABLE:
        return None
    if value is None:
        raise OptionValueError(f"{what} cannot be None: every run has one; leave it out to keep what it is")
    match name:
        case "progress":
            return unit_interval(what, value)
        case "step" | "steps" | "attempt":
            return whole_number(what, value)
        case "progress_data":
            return as_json(value, "progress_data")
        case "output_summary":
            return text(what, value, longest=MAX_SUMMARY)
        case "error":
            return run_error(what, value)
        case _:
            return text(what, value)


def _optional(what: str, value: str | None) -> str | None:
    return None if value is None else text(what, value)


def _key(value: str | None) -> str | None:
    return None if value is None else word("create(idempotency_key=...)", value)


def _summary_of(inputs: Mapping[str, Any] | None) -> str | None:
    """What to show of the inputs where nobody has said it."""
    if inputs is None:
        return None
    words = ", ".join(f"{name}={value!r}" for name, value in inputs.items())
    return text("inputs", words if len(words) <= MAX_SUMMARY else f"{words[: MAX_SUMMARY - 3]}...")


def _ways(given: Mapping[str, Any]) -> str:
    return "one of " + ", ".join(f"{name}=..." for name in given if name != "status")
