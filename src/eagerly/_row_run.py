"""`RowRun`: a run, as its body sees it in a worker that nothing connects with the coordinator while it runs.

Both can reach the store, so the row is the message: the body hears from it what is asked of its run, and what it says
of its progress is written there. Items, outputs and the end still travel with the result, and count when they arrive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from eagerly._clerk import Clerk
from eagerly._run_asked import AskedBody
from eagerly._run_notes import RunNotes
from eagerly._worker_run import RunSpec, WorkerRun
from eagerly.errors import InvalidTransition, RunNotFound, RunsError
from eagerly.runs._change import Change
from eagerly.runs._record import RunRecord
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly.errors import EagerlyError
    from eagerly.runs._protocol import RunStore

__all__ = ["worker_run"]

PATIENCE: Final = 5.0
"""Seconds that the end of a body waits for what it has said to be written."""


class RowRun(AskedBody, WorkerRun):
    """A run, as its body sees it.

    Args:
        spec: What is known of it.
        scope: Where the call is made.
        send: Sends something to the coordinator, with the result.
        store: Where its row is.
        owner: Whose run it is there.
    """

    def __init__(
        self, spec: RunSpec, scope: MapScope, send: Callable[..., None], store: RunStore, owner: str | None
    ) -> None:
        AskedBody.__init__(self)
        WorkerRun.__init__(self, spec, scope, send)
        self._owner = owner or ""
        self._clerk = Clerk(store)
        self._notes = RunNotes(spec.id)
        self._unwatch = store.watch(spec.id, self._tell)

    def progress(self, values: dict[str, Any]) -> None:
        delay = self._notes.progress(values)
        if delay is not None:
            self._clerk.do_later(delay, self._write)

    def become(self, status: str) -> None:
        self._notes.add(RunStatus(status), {})
        self._write()

    def ask_to_stop(self) -> None:
        self._notes.ask_to_stop()
        self._write()

    def close(self) -> None:
        """Its body has ended: what it has said is written before anybody hears of that."""
        self._write()
        self._clerk.flush(PATIENCE)
        self._unwatch()

    def _write(self) -> None:
        said: list[Change] = []

        def make() -> Sequence[Change]:
            said.extend(self._notes.take(self._owner))
            return said

        self._clerk.write(make, lambda outcomes: self._written(said, outcomes))

    def _written(self, said: Sequence[Change], outcomes: Sequence[Any]) -> None:
        for change, outcome in zip(said, outcomes, strict=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, InvalidTransition | RunNotFound):
                self._report(change)

    def _report(self, change: Change) -> None:
        """The store could not be written to from here. The coordinator may have better luck."""
        if change.stop:
            self._send("stop")
        elif change.status is None:
            self._send("progress", dict(change.values))
        else:
            self._send("become", str(change.status))

    def _tell(self, news: RunRecord | EagerlyError | None) -> bool:
        if not isinstance(news, RunRecord):
            return news is None
        if news.status.final or news.stop_requested_at is not None:
            self._scope.stop()
            self._asked.happen()
        if news.status.final:
            self._signed_off.happen()
        return news.status.final


def worker_run(spec: RunSpec, scope: MapScope, send: Callable[..., None]) -> WorkerRun:
    """The run of `spec`, for its body in this process."""
    store = None if spec.store is None else _stores.setdefault(spec.store.place, spec.store)
    record = None
    if store is not None:
        with contextlib.suppress(RunsError):  # it cannot be reached from this machine
            record = store.get(spec.id)
    if store is None or record is None:  # a file of that name is another one here
        return WorkerRun(spec, scope, send)
    return RowRun(spec, scope, send, store, record.owner)


_stores: dict[str, RunStore] = {}
"""Those of the runs that this worker has had, by their places."""
