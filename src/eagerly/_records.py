"""What a worker in another process sends back: records of how items have ended, and of what is to be told of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from eagerly._wire import dump, frame

if TYPE_CHECKING:
    from eagerly.backends._protocol import Line

__all__ = [
    "BROKEN",
    "ERROR",
    "EVENTS",
    "LIVELY",
    "MANY",
    "MOVED",
    "ONE",
    "PACKED",
    "RUN",
    "UNHURRIED",
    "UNREAD",
    "UNSENT",
    "Output",
]

MANY, ONE, PACKED, ERROR, UNSENT, UNREAD, EVENTS, MOVED, BROKEN, RUN = range(10)
"""What a record in the output is. It begins with one of these, and the index of an item.

``MANY``: the results of this item and of those that follow it. ``ONE``: its result, and events. ``PACKED``: both as
bytes. ``ERROR``: what it has raised, when, and events. ``UNSENT``: why its result cannot travel, and events.
``UNREAD``: why its arguments could not be read. ``EVENTS``: what has happened so far. ``MOVED``: it goes on in another
worker: the attempt that comes next, its delay, the seconds so far, events. ``BROKEN``: why none of the items could run.
``RUN``: what the body of a run says about it.
"""

LIVELY: Final = 0.005
"""Seconds between two parts of the output at least, unless the work has ended. What has not been sent is done again if
the worker dies."""

UNHURRIED: Final = 0.02
"""The same, where nobody looks at results before all are there."""


class Output:
    """The records that are on their way back."""

    def __init__(self, line: Line | None) -> None:
        self._line = line
        self._done: list[bytes] = []
        self._records: list[tuple[Any, ...]] = []
        self.told = False
        """Whether a part of what is to be told of the item that runs has been sent."""
        self.urgent = False
        """Whether there is something among it that somebody may wait for."""
        self.flushes = 0
        """How often what there was has been taken, in whatever thread: a record that was added before may be gone."""
        self._lock = threading.RLock()  # bodies report from threads of theirs; re-entrant, as a signal may
        self.last = self._since = time.perf_counter()

    def add(self, record: tuple[Any, ...]) -> None:
        """One more record, of things that pickle takes."""
        with self._lock:
            self._records.append(record)
            self.urgent = self.urgent or not _is_bare(record)

    def send(self, *said: Any) -> None:
        """What the body of a run says, now."""
        self.add((RUN, 0, *said))
        self.flush()

    def lively(self) -> bool:
        """Whether what there is should be sent now, so that the coordinator sees what goes on."""
        return self._line is not None and time.perf_counter() - self.last > LIVELY

    def flush(self) -> None:
        """Send what there is."""
        with self._lock:
            self.flushes += 1
            records, self._records = self._records, []
            urgent, self.urgent = self.urgent, False
            self.told = False
            self.last = now = time.perf_counter()
            busy, self._since = now - self._since, now
            if not records:
                return
            data = frame(dump((busy, records)), urgent=urgent)
            if self._line is None:
                self._done.append(data)
            else:
                self._line.output(data)

    def close(self) -> bytes:
        """What has not been sent."""
        line, self._line = self._line, None
        with self._lock:
            self.flush()
            self._line = line
            return b"".join(self._done)


def _is_bare(record: tuple[Any, ...]) -> bool:
    """Whether there is nothing in it but results."""
    return record[0] == MANY or (record[0] == PACKED and not record[3])
