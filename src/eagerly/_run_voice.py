"""`RunVoice`: what the body of a run says, on its way to the store; and what it is told.

Nothing is ever written on an event loop: where the store may block, the clerk writes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from eagerly._run_asked import AskedBody
from eagerly._run_ending import payload_of
from eagerly._run_items import RunItems
from eagerly._run_notes import RunNotes
from eagerly.runs._change import Change
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._run_host import RunHost
    from eagerly._task import Task
    from eagerly.runs._record import RunRecord

__all__ = ["RunVoice"]


class RunVoice(AskedBody):
    """A run, as its body sees it that runs in this process: a `RunPort`.

    Args:
        host: Who executes the runs of the store.
        task: What is called.
        record: The run.
        scope: Where the call is made.
    """

    def __init__(self, host: RunHost, task: Task[..., Any], record: RunRecord, scope: MapScope) -> None:
        super().__init__()
        self.id = record.id
        self.root_id = record.root_id
        self.record = record
        self.host = host
        self.store = host.store
        self.task = task
        self.scope = scope
        self._lock = threading.RLock()
        self._notes = RunNotes(self.id)
        self._stream = RunItems(self.id) if task.is_generator else None

    def _noted(self, outcomes: Sequence[Any]) -> None:
        """The store has made this of what was written."""
        raise NotImplementedError

    @property
    def stopping(self) -> bool:
        return self.scope.stopping

    def progress(self, values: dict[str, Any]) -> None:
        delay = self._notes.progress(values)
        if delay is not None:
            self._write_notes(delay)

    def become(self, status: str) -> None:
        self._notes.add(RunStatus(status), {})
        self._write_notes(0.0)

    def ask_to_stop(self) -> None:
        self._notes.ask_to_stop()
        self._write_notes(0.0)

    def give(self, value: Any, summary: str | None) -> None:
        payload = payload_of(self.store, value, self.task.run_output)
        self._notes.add(None, {} if summary is None else {"output_summary": summary}, payload)
        self._write_notes(0.0)

    def _write_notes(self, delay: float) -> None:
        if delay:
            self.host.clerk.do_later(delay, partial(self.host.clerk.write, self._make, self._made))
        elif self.store.blocking:
            self.host.clerk.write(self._make, self._made)
        else:
            with self._notes.writing:
                self._noted(self.store.write(self._notes.take(self._owner())))

    def _make(self) -> Sequence[Change]:
        self._notes.writing.acquire()  # until it is written, nobody writes that the run has ended
        return self._notes.take(self._owner())

    def _owner(self) -> str | None:
        """The owner that the run must have for what is written; None: whoever it is."""
        return self.store.owner()

    def _made(self, outcomes: list[Any]) -> None:
        self._notes.writing.release()
        self._noted(outcomes)

    def item(self, value: Any) -> None:
        assert self._stream is not None
        self._stream.add(value)
