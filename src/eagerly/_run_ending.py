"""How a run ends, as a change of its record: from what its body has returned or raised. Nothing here writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eagerly._life import reason_of
from eagerly._wire import pack_error
from eagerly.errors import CommandFailed, StopRequested, WorkerCrashed
from eagerly.runs._change import Change
from eagerly.runs._limits import clean
from eagerly.runs._payload import OBJECT, Payload, encode
from eagerly.runs._record import RunError, now
from eagerly.runs._recovery import LOST
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly.runs._protocol import RunStore

__all__ = ["EXIT", "PICKLE", "completed", "failed", "payload_of"]

PICKLE = "pickle"
"""What a task says as ``run_output=`` whose output JSON does not have."""


EXIT = "exit"
"""The kind of error of runs whose program has ended with an exit code other than 0. Its traceback is what that said."""


def payload_of(store: RunStore, value: Any, form: str | None) -> Payload:
    """An output as the store keeps it. One in the memory of this process keeps the object itself.

    Raises:
        OutputNotSerializable: The store cannot keep it; the message says what in it.
    """
    if getattr(store, "keeps_objects", False):
        return Payload(OBJECT, value, None)
    return encode(value, pickled=form == PICKLE)


def completed(run_id: str, owner: str | None, payload: Payload | None) -> Change:
    """Its body has returned; the run is cancelled, with its output, if it was asked to stop."""
    return Change(run_id, now(), RunStatus.COMPLETED, output=payload, owner=owner, heed_stop=True)


def failed(run_id: str, owner: str | None, error: BaseException, *, text: str = "", lost: bool = False) -> Change:
    """Its body has raised `error`.

    Args:
        run_id: The run.
        owner: Who runs it.
        error: What was raised. `StopRequested` and a cancellation mean that the run is cancelled.
        text: The traceback in the process where it was raised, if that was another one.
        lost: It has not been raised by the body, which may still run; nobody knows what it has done.
    """
    if isinstance(error, StopRequested) or reason_of(error) == "cancelled":
        reason = "stopped" if isinstance(error, StopRequested) else "its asyncio task was cancelled"
        return Change(run_id, now(), RunStatus.CANCELLED, {"cancel_reason": reason}, owner=owner)
    packed = pack_error(error)
    kind = LOST if lost else "error"
    if isinstance(error, WorkerCrashed):
        kind = "crashed"
    elif isinstance(error, CommandFailed):  # how it was called here helps nobody; what it has said may
        kind, text = EXIT, error.stderr or packed.text
    described = RunError(type(error).__name__, clean(packed.message), clean(text or packed.text), kind)
    return Change(
        run_id, now(), RunStatus.FAILED, {"error": described}, pickled_error=None if lost else packed.data, owner=owner
    )
