"""`Once`: something that happens once, and whom that wakes: threads that wait, and functions that are called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Once", "nothing"]

SLICE = 0.25
"""Seconds that a wait lasts at most before the interpreter has a chance to interrupt it."""


class Once:
    """Something that happens once."""

    __slots__ = ("_event", "_happened", "_lock", "_tells")

    def __init__(self) -> None:
        self._happened = False
        self._event: threading.Event | None = None  # once somebody waits
        self._lock = threading.RLock()  # re-entrant: the garbage collector may run a task in the middle of it
        self._tells: list[Callable[[], object]] = []

    def __bool__(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def happen(self) -> None:
        """Let it happen; again changes nothing."""
        with self._lock:
            if self._happened:
                return
            self._happened = True
            if self._event is not None:
                self._event.set()
            tells, self._tells = self._tells, []
        for tell in tells:
            _say(tell)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for it, so long at most; whether it has happened."""
        event = self._event or threading.Event()
        with self._lock:
            if self._happened:
                return True
            event = self._event = self._event or event
        if seconds is not None:
            return event.wait(seconds)
        while not event.wait(SLICE):
            pass
        return True

    def wait_until(self, deadline: float) -> bool:
        """Wait for it until `time.monotonic` reads `deadline`; whether it has happened."""
        return self.wait(max(0.0, deadline - time.monotonic()))

    def when(self, tell: Callable[[], object]) -> Callable[[], object]:
        """Call `tell` when it happens, at once if it has; returns what ends that. `tell` must not block."""
        with self._lock:
            if not self._happened:
                self._tells.append(tell)
                return lambda: self._forget(tell)
        _say(tell)
        return nothing

    def _forget(self, tell: Callable[[], object]) -> None:
        with self._lock:
            if tell in self._tells:
                self._tells.remove(tell)


def _say(tell: Callable[[], object]) -> None:
    """Whoever waited may be gone, and its event loop closed: that is no trouble of those who are told next."""
    try:
        tell()
    except Exception as error:
        if not isinstance(error, RuntimeError):
            import logging

            logging.getLogger("eagerly").exception("who was waiting could not be told")


def nothing() -> None:
    """Do nothing: for those who have to give a function."""
