"""`RemoteItem`: an item in a worker of another process; and what sees to its attempts there.

What is to be told of it is noted, and travels with its result, or ahead of it where that may be long in coming.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from eagerly._deadline import GRACE
from eagerly._item import ItemScope, MapScope
from eagerly._records import EVENTS, Output
from eagerly._relay import pack_events
from eagerly.errors import TaskTimeoutError
from eagerly.hooks._marker import hook_impl

if TYPE_CHECKING:
    from eagerly._context import TaskContext
    from eagerly.backends._protocol import Line

__all__ = ["AttemptWatch", "Moved", "RemoteItem", "RemoteMap", "kill_at"]

MARGIN: Final = GRACE + 0.1
"""Seconds after its deadline at which a body that nothing interrupts has its worker killed."""


class RemoteMap(MapScope):
    """A map, seen from one piece of its work in a worker."""

    __slots__ = ("first", "line", "output")

    first: int
    line: Line | None
    output: Output

    @property
    def stopping(self) -> bool:
        return (self.line is not None and self.line.stopping) or super().stopping

    def told(self, item: ItemScope) -> None:
        if self.output.lively():
            self.tell(item)

    def tell(self, item: ItemScope) -> None:
        """Send what has happened so far. What follows it must not be lost with another item: it is sent as it comes."""
        events = pack_events(item)
        if events:
            self.output.add((EVENTS, item.map_index, events))
            self.output.flush()
            self.output.told = True


class RemoteItem(ItemScope):
    """An item in a worker: what is to be told of it is noted."""

    map: RemoteMap

    def __init__(self, scope: RemoteMap, map_index: int) -> None:
        self.map = scope
        self.map_index = map_index
        self._session = scope.session
        self._call = scope.call
        self.events = []


class Moved(BaseException):
    """Raised through the driver of an item whose body cannot be ended: the next attempt is made in another worker."""

    def __init__(self, attempt: int, delay: float, elapsed: float, events: list[Any]) -> None:
        self.attempt, self.delay, self.elapsed, self.events = attempt, delay, elapsed, events


class AttemptWatch:
    """A plugin that sees to the attempts of an item: which one runs is noted where it survives this process."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout

    @hook_impl(tryfirst=True)
    def before_node_execute(self, metadata: TaskContext) -> None:
        item = metadata._outer._item
        if item is not None and item.resume is not None:
            metadata.attempt, elapsed = item.resume
            metadata._retries_told = metadata.attempt - 1
            metadata.started -= elapsed

    @hook_impl(trylast=True)
    def before_node_retry(self, metadata: TaskContext, attempt: int, error: Exception, delay: float) -> None:
        item = metadata._outer._item
        if item is None or not isinstance(item.map, RemoteMap) or item.map.line is None:
            return
        if isinstance(error, TaskTimeoutError) and error.abandoned:
            events = pack_events(item)
            item.events = None  # for those who are told, it goes on
            raise Moved(attempt, delay, metadata.elapsed, events)
        item.map.tell(item)  # before an attempt that may kill this process: the one before has been made
        item.map.line.begin(
            item.map_index - item.map.first, attempt, 0.0 if self._timeout is None else kill_at(self._timeout, delay)
        )


def kill_at(timeout: float, delay: float = 0.0) -> float:
    """When a worker may be killed whose body has so many seconds, by `time.monotonic`."""
    return time.monotonic() + delay + timeout + MARGIN
