"""How many items a worker is given at a time, and how many are taken that nobody has consumed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from eagerly.backends._protocol import Capabilities

__all__ = ["Sizing"]

LARGEST: Final = 10_000
"""Items in one chunk at most, unless told otherwise."""

SUSPECTS: Final = 256
"""The same where a worker that dies takes others with it: each item must be tried alone to find out who did it."""

SHORT: Final = 200e-6
"""Seconds below which an item does not gain from running beside others in one interpreter."""

SMALLEST: Final = 16
"""Into how many at most a chunk is divided towards the end."""

GROWTH: Final = 4
AHEAD: Final = 2
"""Chunks that a worker has at hand: the one it works on, and the next."""


class Sizing:
    """Grows chunks from one item towards a duration, and keeps to a window.

    Args:
        can: What the backend can do.
        chunk: A fixed size, or None.
        window: How many items may be taken that have not been consumed, or None.
        total: How many items there are, or None if that is not known.
    """

    def __init__(self, can: Capabilities, *, chunk: int | None, window: int | None, total: int | None) -> None:
        self._workers = can.workers
        self._seconds = can.chunk_seconds
        self._in_process = can.in_process
        self._largest = SUSPECTS if can.shared_fate else LARGEST
        self._fixed = 1 if chunk is None and can.chunk_seconds <= 0 else chunk
        self._window = window
        self._left = total
        self._now = 1 if self._fixed is None else self._fixed
        self._most = self.slots = can.workers * AHEAD
        if window is not None:
            self._now = min(self._now, window)

    @property
    def size(self) -> int:
        """How many items a chunk has now."""
        return self._now

    @property
    def step(self) -> int:
        """How many more have to be consumed before it is worth asking for the next chunk again."""
        return 1 if self._window is not None else self._now // 4 or 1

    def learn(self, items: int, seconds: float) -> None:
        """A worker has taken so long for so many items."""
        if items and self._in_process:  # threads take turns with the interpreter: short items gain nothing from many
            self.slots = AHEAD if seconds / items < SHORT else self._most
        if self._fixed is None and items:
            wanted = self._largest if seconds <= 0 else int(self._seconds * items / seconds)
            self._now = max(1, min(wanted, self._now * GROWTH, self._largest))

    def next(self, unconsumed: int) -> int:
        """How many items the next chunk may have; 0: none before more have been consumed.

        Args:
            unconsumed: How many have been taken and not consumed.
        """
        size = self._now
        if self._fixed is None:
            if self._left is not None:  # towards the end, all workers are to end at the same time
                size = min(size, max(size // SMALLEST, -(-self._left // (self._workers * AHEAD)), 1))
            if self._window is not None:
                size = min(size, max(1, self._window // self._workers))
        room = (2 * self.slots * self._now if self._window is None else self._window) - unconsumed
        return size if size <= room else room if unconsumed == 0 or self._window is not None else 0

    def took(self, items: int) -> None:
        """So many items have been taken."""
        if self._left is not None:
            self._left -= items
