"""`Clerk`: the thread that writes for the runs of one store, so that nobody who must not wait does.

It writes what is there in one transaction, in the order in which it was handed in, and does other small things between
two writes. It never runs a body. It starts when there is something to do, and ends when there has been nothing.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from eagerly._clock import SLICE
from eagerly._once import nothing
from eagerly.runs._passing import is_passing, write_patiently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eagerly.runs._protocol import RunStore, Write

__all__ = ["Clerk", "clerk_of"]

LINGER: Final = 0.5
"""Seconds without work after which the thread ends."""

Make = Callable[[], "Sequence[Write]"]
"""Says what is to be written, at the moment when it is."""

Done = Callable[[list[Any]], object]
"""Gets what the store has made of it: for each a `Moved`, or an error."""

MOST: Final = 500
"""Parts that are written in one transaction."""


class Clerk:
    """Writes into one store.

    Args:
        store: Where to.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._queue: SimpleQueue[tuple[Make | None, Callable[..., object]]] = SimpleQueue()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._wakes = 0.0  # when the thread looks at these by itself
        self._numbers = itertools.count()
        # Re-entrant: the garbage collector may close a stream, whose end is to be written, while a thread is started.
        self._lock = threading.RLock()
        self._starting = False
        self._alone = threading.RLock()
        self._thread: threading.Thread | None = None

    def write(self, make: Make, done: Done) -> None:
        """Have what `make` gives then written, soon, after all that was handed in before."""
        self._put((make, done))

    def do(self, action: Callable[[], object]) -> None:
        """Have something done that is quick, after all that was handed in before."""
        self._put((None, action))

    def do_later(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something done that is quick, in so many seconds."""
        due = time.monotonic() + seconds
        with self._lock:
            heapq.heappush(self._later, (due, next(self._numbers), action))
            if self._thread is not None and self._wakes <= due:
                return  # it need not be woken up for that
        self.do(nothing)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all has been done that was handed in."""
        if self.here:
            return
        done = threading.Event()
        self.do(done.set)
        end = None if timeout is None else time.monotonic() + timeout
        while not done.wait(SLICE):
            if end is not None and time.monotonic() > end:
                return

    def _put(self, job: tuple[Any, Any]) -> None:
        with self._lock:
            self._queue.put(job)
            if self._thread is not None or self._starting:
                return
            self._starting = True
            try:
                thread = threading.Thread(target=self._work, name="eagerly-runs-clerk", daemon=True)
                thread.start()
            except RuntimeError:  # Python 3.12 starts no thread when it is about to end
                pass
            else:
                self._thread = thread
                return
            finally:
                self._starting = False
        self._work_here()

    def _work_here(self) -> None:
        """Do what there is to do in this thread, as there will be no other."""
        with self._alone:
            while True:
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    return
                self._carry_out(job)

    def _work(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=self._rest())
            except Empty:
                if self._do_what_is_due():
                    continue
                with self._lock:
                    if self._queue.empty() and not self._later:
                        self._thread = None
                        return
                continue
            self._carry_out(job)
            self._do_what_is_due()

    def _rest(self) -> float:
        """Seconds for which it may sleep."""
        with self._lock:
            at = time.monotonic()
            self._wakes = max(at, self._later[0][0]) if self._later else at + LINGER
            return self._wakes - at

    def _do_what_is_due(self) -> bool:
        """Do what is to be done by now; whether there was anything."""
        found = False
        while (action := self._next_due()) is not None:
            found = True
            _quietly(action)
        return found

    def _next_due(self) -> Callable[[], object] | None:
        with self._lock:
            if not self._later or self._later[0][0] > time.monotonic():
                return None
            return heapq.heappop(self._later)[2]

    def _carry_out(self, job: tuple[Make | None, Callable[..., object]] | None) -> None:
        """Do one thing; what is to be written goes together with what follows, up to the next thing of another sort."""
        while job is not None:
            make, done = job
            job = None
            if make is None:
                _quietly(done)
                continue
            batch = [(make, done)]
            while len(batch) < MOST:
                try:
                    following = self._queue.get_nowait()
                except Empty:
                    break
                if following[0] is None:
                    job = following
                    break
                batch.append((following[0], following[1]))
            self._write(batch)

    def _write(self, batch: list[tuple[Make, Done]]) -> None:
        writes: list[Write] = []
        parts: list[tuple[int, int, Done]] = []
        for make, done in batch:
            before = len(writes)
            try:
                writes += make()
            except Exception as error:
                _quietly(partial(done, [error]))
            else:
                parts.append((before, len(writes), done))
        outcomes = self._outcomes(writes)
        fate = outcomes[0] if outcomes else None
        if len(parts) > 1 and isinstance(fate, Exception) and fate is outcomes[-1] and not is_passing(fate):
            # One of them may be at fault, as what it gives has no room; the others are not to share its fate.
            outcomes = [each for start, end, _ in parts for each in self._outcomes(writes[start:end])]
        for start, end, done in parts:
            _quietly(partial(done, outcomes[start:end]))

    def _outcomes(self, writes: list[Write]) -> list[Any]:
        """What the store makes of them; for each the same error if it makes nothing of them."""
        try:
            return [*write_patiently(self._store, writes)] if writes else []
        except Exception as error:
            return [error] * len(writes)

    @property
    def here(self) -> bool:
        """Whether this is its thread."""
        return threading.current_thread() is self._thread

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, and no thread to do it."""
        return self._thread is None


def _quietly(action: Callable[[], object]) -> None:
    """Nothing that goes wrong with one run may keep this thread from the others."""
    try:
        action()
    except BaseException:
        import logging

        logging.getLogger("eagerly.runs").exception("something about a run went wrong")


def clerk_of(store: RunStore) -> Clerk:
    """The one that writes into `store`."""
    with _lock:
        clerk = _clerks.get(id(store))
        if clerk is None:
            clerk = _clerks[id(store)] = Clerk(store)
        return clerk


_clerks: weakref.WeakValueDictionary[int, Clerk] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _after_fork() -> None:
    """What the clerks of the parent are about to do is not for the child, and their threads are not there."""
    global _lock
    _lock = threading.Lock()
    _clerks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
