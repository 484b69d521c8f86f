"""`Inbox`: a queue that one thread reads, and may be interrupted while it waits."""

from __future__ import annotations

import os
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from eagerly.errors import BackendError

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """What other threads put in, in order. In a forked child there are none of them."""

    __slots__ = ("_process", "_queue", "empty", "put")

    def __init__(self) -> None:
        self._process = os.getpid()
        self._queue: SimpleQueue[T] = SimpleQueue()
        self.put = self._queue.put
        self.empty = self._queue.empty

    @property
    def elsewhere(self) -> bool:
        """Whether it belongs to another process, from which this one was forked."""
        return self._process != os.getpid()

    def wait(self, seconds: float) -> T | None:
        """The next one; None if none has come in so many seconds.

        Raises:
            BackendError: Nothing can come, as this process was forked meanwhile.
        """
        if self.elsewhere:
            raise BackendError(
                "this map belongs to the process that began it, from which this one was forked; begin another one here"
            )
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
