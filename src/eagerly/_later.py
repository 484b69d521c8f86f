"""`Later`: chunks that are to be handed out again: when a delay has passed, or when they can be tried alone."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from typing import TYPE_CHECKING

from eagerly._clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from eagerly._chunk import Chunk
    from eagerly._clock import Clock

__all__ = ["Later"]


class Later:
    """Chunks by the time at which they are due. True while there are any.

    Args:
        clock: The session's. One of the user's sleeps at once, as its seconds may not be real ones.

    Attributes:
        suspects: Those that may have killed a worker, in the order in which they are to be tried.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._chunks: list[tuple[float, int, Chunk]] = []
        self._numbers = itertools.count()
        self.suspects: deque[Chunk] = deque()

    def __bool__(self) -> bool:
        return bool(self._chunks or self.suspects)

    def add(self, chunk: Chunk, delay: float) -> None:
        """Keep `chunk` for so many seconds, or with those that are to be tried alone."""
        if chunk.alone:
            self.suspects.append(chunk)
            return
        if delay > 0 and self._clock is not SYSTEM_CLOCK:
            self._clock.sleep(delay)
            delay = 0.0
        heapq.heappush(self._chunks, (time.monotonic() + delay, next(self._numbers), chunk))

    def rest(self, most: float) -> float:
        """Seconds until the first is due, but `most` at most."""
        return most if not self._chunks else min(most, max(0.0, self._chunks[0][0] - time.monotonic()))

    def due(self) -> Chunk | None:
        """One that is due now, or None."""
        return heapq.heappop(self._chunks)[2] if self._chunks and self._chunks[0][0] <= time.monotonic() else None

    def clear(self) -> None:
        """Forget them all."""
        self._chunks.clear()
        self.suspects.clear()
