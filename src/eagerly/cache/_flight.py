"""One computation of one key in this process, and those who wait for it: threads and event loops alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from eagerly.cache._protocol import KeyLock, LocksKeys

__all__ = ["Flight", "Outcome", "leads_to", "under_way"]


class Outcome:
    """How a computation ended.

    Attributes:
        kind: ``"stored"``: the result is in the store. ``"packed"``: it could not be stored, and `value` is what would
            have been. ``"alone"``: it cannot be stored at all, so each caller computes one for itself. ``"failed"``:
            the function has raised `value`. ``"gone"``: who computed it has gone without a result, and the next one
            may try.
        value: See `kind`.
        trace: The traceback that `value` had, if it was raised.
    """

    __slots__ = ("kind", "trace", "value")

    def __init__(self, kind: Literal["stored", "packed", "alone", "failed", "gone"], value: Any = None) -> None:
        self.kind = kind
        self.value = value
        self.trace = value.__traceback__ if isinstance(value, Exception) else None


class Flight:
    """A computation that is under way.

    Attributes:
        key: Of what is computed.
        thread: The thread in which it was begun.
        lock: What keeps other processes from computing the same, or None.
        locks: Where that lock is.
        waits_for: The flights that calls below this one are waiting for now.
        outcome: None until it has landed.
    """

    __slots__ = ("_callbacks", "_flights", "key", "lock", "locks", "outcome", "thread", "waits_for")

    def __init__(self, key: bytes, flights: dict[bytes, Flight]) -> None:
        self.key = key
        self.thread = threading.get_ident()
        self.lock: KeyLock | None = None
        self.locks: LocksKeys | None = None
        self.waits_for: list[Flight] = []
        self.outcome: Outcome | None = None
        self._callbacks: list[Callable[[], object]] = []
        self._flights = flights

    def begin(self) -> bool:
        """Whether this is the one that computes the key here, and nobody else."""
        _under_way.add(self)  # first, so that what others see to be led is known to be under way
        if self._flights.setdefault(self.key, self) is self:
            return True
        _under_way.discard(self)
        return False

    def is_waited_for(self) -> bool:
        """Whether another process waits for the lock."""
        return self.lock is not None and self.locks is not None and self.locks.is_waited_for(self.key)

    # Without a lock, which the garbage collector could meet while its own thread holds it. Each step is atomic, and
    # their order sees to it that every callback is taken from the list by somebody after the outcome is there.

    def when_landed(self, callback: Callable[[], object]) -> None:
        """Call `callback` when there is an outcome, in the thread that brings it; at once if it is there."""
        self._callbacks.append(callback)
        if self.outcome is not None:
            self._call_back()

    def land(self, outcome: Outcome) -> None:
        """Say how it ended; the first time counts. The key is free again in this process."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        _under_way.discard(self)
        if self._flights.get(self.key) is self:
            self._flights.pop(self.key, None)
        self._call_back()

    def release(self) -> None:
        """Let other processes have the key. A lock that cannot be released any more is left to expire."""
        lock, self.lock = self.lock, None
        if lock is not None:
            try:  # noqa: SIM105 - each miss comes here, and contextlib.suppress() takes as long as the release
                lock.release()
            except Exception:
                pass

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread was faster
                return
            callback()


_under_way: set[Flight] = set()


def under_way() -> list[Flight]:
    """All computations of this process."""
    return list(_under_way)


def leads_to(flight: Flight, goals: Iterable[Flight]) -> bool:
    """Whether `flight` is one of `goals` or waits for one, through others too: then those must not wait for it."""
    seen: set[int] = set()
    waiting = [flight]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if any(each is goal for goal in goals):
            return True
        waiting.extend(each.waits_for)
    return False


def _after_fork() -> None:
    """Nobody in a forked child computes what was being computed in its parent."""
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
