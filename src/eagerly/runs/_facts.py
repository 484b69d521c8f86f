"""`RunFacts`: what is known of a run, as Python values. Nothing here asks a store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from eagerly.runs._payload import json_value
from eagerly.runs._record import RunError, RunRecord, duration_of, moment
from eagerly.runs._status import RunStatus

__all__ = ["RunFacts"]


class RunFacts:
    """What was known of a run when it was looked at last.

    Attributes:
        id: ``run_...``.
        task: The name of what is run.
        kind: ``"run"``: it was submitted or made. ``"call"``, ``"workflow"``: its caller has waited for it.
        status: A `RunStatus`, which is also a string.
        name: A name for people, or None.
        task_version: The version of the task, or None.
        session_id: The session that it was made in, or None.
        parent_id: The run that has made it, or None.
        root_id: The run at the top of its tree, perhaps itself.
        progress: From 0.0 to 1.0.
        step: At which step it is, or None.
        steps: Of how many, or None.
        message: What it does at the moment, or None.
        attempt: 1 for the first; 0 before it.
        cached: Whether its result was found in the cache.
        error: Why it has failed, a `eagerly.runs.RunError`, or None.
        cancel_reason: Why it was cancelled, or None.
        tags: Words to find it by.
        owner: The process that runs it; None if another program moves it forward.
        input_summary: What to show of its inputs, or None.
        output_summary: What to show of its output, or None.
        idempotency_key: As it was given, or None.
        created_at: When it was made, in UTC, as all times are.
        updated_at: When it was changed last.
        stop_requested_at: When it was asked to stop, or None.
        started_at: When it began, or None.
        paused_at: When it was paused last, or None.
        completed_at: When it completed, or None.
        failed_at: When it failed, or None.
        cancelled_at: When it was cancelled, or None.
    """

    __slots__ = ("_record",)

    def __init__(self, record: RunRecord) -> None:
        self._record = record

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def task(self) -> str:
        return self._record.task

    @property
    def kind(self) -> str:
        return self._record.kind

    @property
    def status(self) -> RunStatus:
        return self._record.status

    @property
    def name(self) -> str | None:
        return self._record.name

    @property
    def task_version(self) -> str | None:
        return self._record.task_version

    @property
    def session_id(self) -> str | None:
        return self._record.session_id

    @property
    def parent_id(self) -> str | None:
        return self._record.parent_id

    @property
    def root_id(self) -> str:
        return self._record.root_id

    @property
    def progress(self) -> float:
        return self._record.progress

    @property
    def step(self) -> int | None:
        return self._record.step

    @property
    def steps(self) -> int | None:
        return self._record.steps

    @property
    def message(self) -> str | None:
        return self._record.message

    @property
    def attempt(self) -> int:
        return self._record.attempt

    @property
    def cached(self) -> bool:
        return self._record.cached

    @property
    def error(self) -> RunError | None:
        return self._record.error

    @property
    def cancel_reason(self) -> str | None:
        return self._record.cancel_reason

    @property
    def tags(self) -> tuple[str, ...]:
        return self._record.tags

    @property
    def owner(self) -> str | None:
        return self._record.owner

    @property
    def input_summary(self) -> str | None:
        return self._record.input_summary

    @property
    def output_summary(self) -> str | None:
        return self._record.output_summary

    @property
    def idempotency_key(self) -> str | None:
        return self._record.idempotency_key

    @property
    def created_at(self) -> datetime:
        return moment(self._record.created_at)

    @property
    def updated_at(self) -> datetime:
        return moment(self._record.updated_at)

    @property
    def stop_requested_at(self) -> datetime | None:
        return _moment(self._record.stop_requested_at)

    @property
    def started_at(self) -> datetime | None:
        return _moment(self._record.started_at)

    @property
    def paused_at(self) -> datetime | None:
        return _moment(self._record.paused_at)

    @property
    def completed_at(self) -> datetime | None:
        return _moment(self._record.completed_at)

    @property
    def failed_at(self) -> datetime | None:
        return _moment(self._record.failed_at)

    @property
    def cancelled_at(self) -> datetime | None:
        return _moment(self._record.cancelled_at)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._record.status.final

    @property
    def percentage(self) -> float:
        """`progress` from 0.0 to 100.0."""
        return self._record.progress * 100

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end, or until now; None if it has not started."""
        return duration_of(self._record)

    @property
    def inputs(self) -> dict[str, Any] | None:
        """What it was given, by name, or None."""
        return json_value(self._record.inputs)  # type: ignore[no-any-return]  # a dict, or None

    @property
    def progress_data(self) -> Any:
        """What it says about its progress beside the number and the message."""
        return json_value(self._record.progress_data)

    @property
    def has_output(self) -> bool:
        """Whether it has given an output; null is one."""
        return self._record.output_form is not None

    def to_dict(self) -> dict[str, Any]:
        """All of this as a dict of what JSON has; times in ISO 8601."""
        found: dict[str, Any] = {name: getattr(self, name) for name in _SHOWN}
        for name, value in found.items():
            if isinstance(value, datetime):
                found[name] = value.isoformat()
        found["status"] = str(self.status)
        found["tags"] = [*self.tags]
        found["error"] = None if self.error is None else self.error._asdict()
        return found

    def __repr__(self) -> str:
        return f"<run {self.id} of task {self.task!r}: {self.status}>"


_SHOWN = (
    *("id", "task", "kind", "task_version", "name", "session_id", "parent_id", "root_id", "status", "inputs"),
    *("input_summary", "has_output", "output_summary", "progress", "step", "steps", "message", "progress_data"),
    *("attempt", "cached", "error", "cancel_reason", "tags", "owner", "created_at", "updated_at"),
    *("stop_requested_at", "started_at", "paused_at", "completed_at", "failed_at", "cancelled_at", "duration"),
    "idempotency_key",
)


def _moment(stamp: int | None) -> datetime | None:
    return None if stamp is None else moment(stamp)
