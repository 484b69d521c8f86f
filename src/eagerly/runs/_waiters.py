"""Who waits for which run in this process, and the one thread that looks for what other processes do.

Whoever commits a change calls `Waiters.wake`, which reaches those who wait for that run and nobody else. The thread is
there only while somebody waits. Nothing here knows how a store notices that another process has written to it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from eagerly.errors import EagerlyError, RunsError
from eagerly.runs._passing import AGAIN, PATIENCE, is_passing
from eagerly.runs._record import RunRecord

__all__ = ["Probe", "Tell", "Waiters", "Watched", "waiters_of"]

Tell: TypeAlias = Callable[[RunRecord | EagerlyError | None], bool]

RECOVERY: Final = 1.0
"""Seconds between two looks for owners that have ended, while somebody waits."""


class Probe(Protocol):
    """What notices, in the watching thread, that something was written."""

    def pause(self, fresh: threading.Event) -> bool:
        """Wait a moment, less if `fresh` is set; whether something may have been written since the last time."""
        ...

    def close(self) -> None:
        """Let go of what it has open."""
        ...


class Watched(Protocol):
    """What the watching thread needs of a store."""

    def open_probe(self) -> Probe:
        """What notices changes from now on."""
        ...

    def records(self, run_ids: Sequence[str], /) -> Iterable[RunRecord]:
        """Those of the runs that there are."""
        ...

    def recover(self) -> list[RunRecord]:
        """Make runs whose owners have ended failed."""
        ...


class Waiters:
    """Those who wait for runs of one place."""

    def __init__(self) -> None:
        self.forget()
        with _places_lock:
            _all.add(self)

    def forget(self) -> None:
        """Nobody waits."""
        self._lock = threading.Lock()
        self._tells: dict[str, dict[int, Tell]] = {}
        self._fresh = threading.Event()
        self._watching = False

    def add(self, run_id: str, tell: Tell) -> Callable[[], None]:
        """Note that `tell` wants to hear of the run; returns what ends that."""
        number = next(_numbers)
        with self._lock:
            self._tells.setdefault(run_id, {})[number] = tell
        return lambda: self._remove(run_id, number)

    def watch(self, store: Watched, run_id: str, tell: Tell) -> Callable[[], None]:
        """As `add`; and the watching thread looks at the run soon, and whenever another process has written."""
        end = self.add(run_id, tell)
        self._fresh.set()
        try:
            self._start(store)
        except BaseException:  # there can be no more threads now; the next one to wait tries again
            end()
            raise
        return end

    def _start(self, store: Watched) -> None:
        """Make sure that the thread is there. It waits for the lock first, so that nobody counts on one that is not."""
        with self._lock:
            if not self._watching:
                threading.Thread(target=self._watch, args=(store,), name="eagerly-runs-watcher", daemon=True).start()
                self._watching = True

    def wake(self, records: Iterable[RunRecord]) -> None:
        """Tell those who wait for these runs."""
        if self._tells:
            for record in records:
                self._tell(record.id, record)

    def alarm(self, run_id: str, error: EagerlyError) -> None:
        """Tell those who wait for a run that what they wait for may never come."""
        self._tell(run_id, error)

    def _tell(self, run_id: str, news: RunRecord | EagerlyError | None) -> None:
        with self._lock:
            tells = list(self._tells.get(run_id, {}).items())
        for number, tell in tells:
            if tell(news):
                self._remove(run_id, number)

    def _remove(self, run_id: str, number: int) -> None:
        with self._lock:
            tells = self._tells.get(run_id, {})
            tells.pop(number, None)
            if not tells:
                self._tells.pop(run_id, None)

    def _waited(self) -> list[str]:
        """The runs that somebody waits for; when there are none, the thread ends and the next one to wait starts it."""
        with self._lock:
            self._watching = bool(self._tells)
            return list(self._tells)

    def _watch(self, store: Watched) -> None:
        probe: Probe | None = None
        reached = recovered = time.monotonic()
        look = True
        while waited := self._waited():
            try:
                if probe is None:
                    probe, look = store.open_probe(), True
                if look or self._fresh.is_set():
                    self._fresh.clear()
                    self._look(store, self._waited())
                look = probe.pause(self._fresh)
                reached = time.monotonic()
                if reached - recovered > RECOVERY:
                    recovered = reached
                    with contextlib.suppress(RunsError):  # who only can read leaves that to others
                        store.recover()
            except Exception as error:
                _close(probe)
                probe = None
                if time.monotonic() - reached > PATIENCE or not is_passing(error):
                    for run_id in waited:
                        self._tell(run_id, _as_ours(error))
                time.sleep(AGAIN)
        _close(probe)

    def _look(self, store: Watched, waited: list[str]) -> None:
        found = {record.id: record for record in store.records(waited)}
        for run_id in waited:
            self._tell(run_id, found.get(run_id))


def _as_ours(error: Exception) -> EagerlyError:
    return error if isinstance(error, EagerlyError) else RunsError(f"the run cannot be watched: {error!r}")


def _close(probe: Probe | None) -> None:
    if probe is not None:
        with contextlib.suppress(Exception):  # the connection may be what has failed
            probe.close()


def waiters_of(place: str) -> Waiters:
    """Those who wait for runs of `place`: one for all stores of this process that are there."""
    with _places_lock:
        return _places.setdefault(place, Waiters())


_numbers = itertools.count(1)
_places: weakref.WeakValueDictionary[str, Waiters] = weakref.WeakValueDictionary()
_all: weakref.WeakSet[Waiters] = weakref.WeakSet()
_places_lock = threading.RLock()


def _after_fork() -> None:
    """Nobody who waited is in the child, and neither is the thread."""
    global _places_lock
    _places_lock = threading.RLock()
    for each in list(_all):
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
