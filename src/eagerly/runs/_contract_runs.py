"""How the contract of run stores makes runs and gets at what became of them."""

from __future__ import annotations

from typing import Any

from eagerly._checks import check
from eagerly.errors import EagerlyError
from eagerly.runs._change import Change, Moved
from eagerly.runs._payload import encode
from eagerly.runs._protocol import Outcome, RunStore
from eagerly.runs._record import RunRecord, new_id, now
from eagerly.runs._status import RunStatus

__all__ = ["all_moved", "end_elsewhere", "got", "new_record", "run_at", "without_place"]


def new_record(
    task: str = "task", status: RunStatus = RunStatus.PENDING, *, at: int | None = None, **fields: Any
) -> RunRecord:
    run_id = fields.pop("id", None) or new_id()
    fields.setdefault("root_id", run_id)
    at = now() if at is None else at
    return RunRecord(0, run_id, task, status, at, at, **fields)


def run_at(
    store: RunStore,
    status: RunStatus,
    *,
    at: int | None = None,
    parent: RunRecord | None = None,
    output: Any = None,
    owner: str | None = None,
) -> RunRecord:
    """A new run of this status, as the store has it."""
    at = now() if at is None else at
    run = new_record(at=at, owner=owner)
    if parent is not None:
        run = run._replace(parent_id=parent.id, root_id=parent.root_id)
    begun = () if status is RunStatus.PENDING else (RunStatus.RUNNING,)
    way = begun if status in (RunStatus.PENDING, RunStatus.RUNNING) else (*begun, status)
    payload = None if output is None else encode(output)
    changes = [Change(run.id, at, each, output=payload if each.final else None) for each in way]
    all_moved(store.write([run, *changes]))
    return got(store, run.id)


def all_moved(outcomes: list[Outcome]) -> list[Moved]:
    """What became of each, where nothing was to be refused."""
    for outcome in outcomes:
        if isinstance(outcome, EagerlyError):
            raise AssertionError(f"was refused: {outcome}") from outcome  # noqa: TRY004 - a promise is not kept
    return [each for each in outcomes if isinstance(each, Moved)]


def without_place(record: RunRecord | None) -> RunRecord | None:
    """The record as whoever wrote it had it."""
    return None if record is None else record._replace(seq=0)


def end_elsewhere(store: RunStore, run_id: str) -> None:
    """What another process does to a run."""
    all_moved(store.write([Change(run_id, now(), RunStatus.CANCELLED)]))


def got(store: RunStore, run_id: str) -> RunRecord:
    """The run, which is there."""
    found = store.get(run_id)
    check(found is not None, f"run {run_id} is not there")
    assert found is not None
    return found
