"""`Hearsay`: what becomes of runs that bodies in other processes submit, for those who listen here.

A worker tells of them while it is at the item that has submitted them, and their rows tell the rest. What comes late
or twice is told once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eagerly._clerk import clerk_of
from eagerly._once import nothing
from eagerly.errors import EagerlyError, RunsError
from eagerly.runs._record import RunRecord
from eagerly.runs._run import Run

if TYPE_CHECKING:
    from eagerly.hooks._compile import CompiledHook
    from eagerly.runs._protocol import RunStore

__all__ = ["Hearsay"]

FLUSH: Final = 5.0
"""Seconds that leaving a session waits for plugins to be told of what has been heard."""


class Hearsay:
    """What has been told in one session of the runs of one store that other processes execute.

    Args:
        store: Where they are.

    Attributes:
        known: Which runs they are.
    """

    def __init__(self, store: RunStore) -> None:
        self.known: set[str] = set()
        self._store = store
        self._clerk = clerk_of(store)
        # These are for the thread of the clerk only, which also gives all that is told its order.
        self._told: dict[str, RunRecord] = {}
        self._live: dict[str, CompiledHook] = {}
        self._unwatch: dict[str, Callable[[], None]] = {}

    def hear(self, hook: CompiledHook, record: RunRecord) -> None:
        """A worker, or the row, says what a run has become. `hook` is told, unless it knows."""
        self.known.add(record.id)
        self._clerk.do(partial(self._tell, hook, record))

    def watch(self, run_id: str) -> None:
        """The worker says no more of that run."""
        self._clerk.do(partial(self._watch, run_id))

    def close(self) -> None:
        """The session is left, and its workers are gone: what has become of their runs is told before."""
        self._clerk.flush(FLUSH)
        live = list(self._live.items())
        if not live:
            return
        with contextlib.suppress(RunsError):
            self._store.recover()
            for run_id, hook in live:
                if (record := self._store.get(run_id)) is not None:
                    self.hear(hook, record)
        for unwatch in list(self._unwatch.values()):
            unwatch()
        self._clerk.flush(FLUSH)

    def _tell(self, hook: CompiledHook, record: RunRecord) -> None:
        last = self._told.get(record.id)
        if last is not None and (last.status.final or record.updated_at <= last.updated_at):
            return
        self._told[record.id] = record
        if record.status.final:
            self._live.pop(record.id, None)
            self._unwatch.pop(record.id, nothing)()
        else:
            self._live[record.id] = hook
        if last is None or last.status is not record.status:
            hook(Run[Any](self._store, record), None if last is None else last.status)

    def _watch(self, run_id: str) -> None:
        if run_id in self._live and run_id not in self._unwatch:
            self._unwatch[run_id] = self._store.watch(run_id, partial(self._news, self._live[run_id]))

    def _news(self, hook: CompiledHook, news: RunRecord | EagerlyError | None) -> bool:
        if not isinstance(news, RunRecord):
            return news is None  # it has been removed
        self.hear(hook, news)
        return news.status.final
