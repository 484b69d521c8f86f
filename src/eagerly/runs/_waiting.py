"""Waiting until a run is as somebody wants it: the same for threads and for event loops, up to how one waits.

Who waits is told, and looks at no store: for what other processes do, the one thread of `_waiters` does that, for all
who wait. In a thread it wakes now and then only so that a timeout around it can interrupt it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from eagerly._once import SLICE, nothing
from eagerly._steps import Until
from eagerly.errors import EagerlyError, RunNotFound, RunsError, RunTimeout
from eagerly.runs._passing import is_passing
from eagerly.runs._protocol import RunStore
from eagerly.runs._record import RunRecord

__all__ = ["ended", "too_late", "wait_for", "wait_for_async"]


def ended(record: RunRecord) -> bool:
    """Whether the run has ended."""
    return record.status.final


class _News:
    """What was told, and whether that is what was waited for.

    Two threads may tell at once, and the later one what was so before: what was waited for, once told, stays.
    """

    def __init__(self, store: RunStore, run_id: str, until: Callable[[RunRecord], bool]) -> None:
        self.last: RunRecord | EagerlyError | None = None
        self._found: RunRecord | EagerlyError | None = None
        self.end: Callable[[], None] = nothing
        self._store = store
        self._run_id = run_id
        self._until = until
        self._settle: Callable[[], object] = nothing

    def begin(self, settle: Callable[[], object]) -> None:
        self._settle = settle
        self.end = self._store.watch(self._run_id, self.tell)

    def tell(self, news: RunRecord | EagerlyError | None) -> bool:
        self.last = news
        settled = not isinstance(news, RunRecord) or self._until(news)
        if settled:
            self._found = self._found or news
            self._settle()
        return settled

    def record(self) -> RunRecord:
        if isinstance(self._found, EagerlyError):
            raise self._found
        if self._found is None:
            raise RunNotFound(f"there is no run {self._run_id!r} in {self._store.place}", run_id=self._run_id)
        return self._found

    def late(self, timeout: float | None) -> RunTimeout:
        return too_late(self._run_id, str(self.last.status) if isinstance(self.last, RunRecord) else "", timeout)


def too_late(run_id: str, status: str, timeout: float | None) -> RunTimeout:
    """What is raised when a run has not ended in time."""
    state = f"is {status}" if status else "could not be looked at"
    return RunTimeout(
        f"run {run_id} {state} after {timeout or 0:g} s of waiting, and goes on", run_id=run_id, status=status
    )


def wait_for(
    store: RunStore, run_id: str, timeout: float | None, until: Callable[[RunRecord], bool] = ended
) -> RunRecord:
    """The run, once it has ended, or once `until` says so.

    Raises:
        RunNotFound: There is none, or it has been removed meanwhile.
        RunTimeout: That has not happened in `timeout` seconds.
    """
    news = _News(store, run_id, until)
    try:
        there = news.tell(store.get(run_id))
    except RunsError as error:
        if not is_passing(error):
            raise
    else:
        if there:
            return news.record()  # which needs no thread that watches
    happened = threading.Event()
    news.begin(happened.set)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        while not happened.wait(SLICE if deadline is None else max(min(SLICE, deadline - time.monotonic()), 0)):
            if deadline is not None and time.monotonic() >= deadline:
                raise news.late(timeout)
    finally:
        news.end()
    return news.record()


async def wait_for_async(
    store: RunStore, run_id: str, timeout: float | None, until: Callable[[RunRecord], bool] = ended
) -> RunRecord:
    """As `wait_for`, without blocking the event loop: the thread that watches has the first look as well."""
    import asyncio

    news = _News(store, run_id, until)
    try:
        async with asyncio.timeout(timeout):
            await Until(news.begin).do_async()
    except TimeoutError:
        raise news.late(timeout) from None
    finally:
        news.end()
    return news.record()
