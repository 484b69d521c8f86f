"""`RunItems`: the items of a stream that runs, for any number of readers, who may come late."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from eagerly._once import SLICE
from eagerly._steps import Until

__all__ = ["RunItems"]


class RunItems:
    """What a stream has given so far.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._items: list[Any] = []
        self._closed = False
        self._changed = threading.Condition()
        self._tells: list[Callable[[], object]] = []

    def add(self, item: Any) -> None:
        """One more. Dropped if nobody is to get any more."""
        with self._changed:
            if self._closed:
                return
            self._items.append(item)
            self._wake()

    def close(self) -> None:
        """No more follow."""
        with self._changed:
            self._closed = True
            self._wake()

    def all(self) -> list[Any]:
        """Those that there are."""
        with self._changed:
            return list(self._items)

    def each(self) -> Iterator[Any]:
        """One after another, as they come."""
        place = 0
        while True:
            with self._changed:
                while place >= len(self._items) and not self._closed:
                    self._changed.wait(SLICE)  # in slices, so that Ctrl-C arrives
                if place >= len(self._items):
                    return
                item = self._items[place]
            yield item
            place += 1

    async def each_async(self) -> AsyncIterator[Any]:
        """One after another, as they come."""
        place = 0
        while True:
            if place < len(self._items):
                yield self._items[place]
                place += 1
            elif self._closed:
                return
            else:
                await Until(lambda tell, place=place: self._when_more(place, tell)).do_async()  # type: ignore[misc]  # bound in the loop

    def _when_more(self, place: int, tell: Callable[[], object]) -> None:
        with self._changed:
            if place >= len(self._items) and not self._closed:
                self._tells.append(tell)
                return
        tell()

    def _wake(self) -> None:
        self._changed.notify_all()
        tells, self._tells = self._tells, []
        for tell in tells:
            tell()
