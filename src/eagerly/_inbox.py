"""`Inbox`: a queue that one thread reads, and may be interrupted while it waits."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """What other threads put in, in order."""

    __slots__ = ("_queue", "empty", "put")

    def __init__(self) -> None:
        self._queue: SimpleQueue[T] = SimpleQueue()
        self.put = self._queue.put
        self.empty = self._queue.empty

    def wait(self, seconds: float) -> T | None:
        """The next one; None if none has come in so many seconds."""
        if seconds <= 0 and self._queue.empty():
            return None
        try:
            try:
                return self._queue.get(timeout=max(0.0, seconds))
            except Empty:
                pass
        except BaseException as error:
            # Ctrl-C has come just when the time was up: nobody is to see that it was while that was handled.
            if isinstance(error.__context__, Empty):
                error.__context__ = None
            raise
        return None
