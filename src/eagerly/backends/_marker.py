"""A few numbers in memory that a worker process shares with the coordinator: what is about to run, and who shall stop.

They outlive the worker, which is the point. Each number is written by one side only, in one piece.
"""

from __future__ import annotations

import functools
import mmap
import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["Mark", "Marker", "marker_file"]

SIZE: Final = mmap.ALLOCATIONGRANULARITY

_TAKEN = struct.Struct("@qqqd")
_ITEM = struct.Struct("@qqd")
_NUMBER = struct.Struct("@q")
_ITEM_AT: Final = 8
_STOP_AT: Final = 32


class Mark(NamedTuple):
    """What a worker has noted last."""

    number: int
    """The work it has taken up."""
    item: int
    """The item within it; -1 before the first and after the last."""
    attempt: int
    deadline: float
    """When it may be killed, by `time.monotonic`; 0.0: never."""


def marker_file() -> int:
    """A descriptor of memory without a name, to make a `Marker` of on both sides."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("eagerly-marker")
    else:
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="eagerly-marker-")
        os.unlink(path)  # noqa: PTH108
    os.truncate(descriptor, SIZE)
    return descriptor


class Marker:
    """Notes of a worker and about it.

    Attributes:
        begin: In the worker, with item, attempt and deadline: this is about to run. Made once for every item, so it is
            no method, which would take twice the time.
    """

    __slots__ = ("_memory", "begin")

    begin: Callable[[int, int, float], None]

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        self.begin = functools.partial(_ITEM.pack_into, self._memory, _ITEM_AT)

    def take(self, number: int) -> None:
        """In the worker: the work `number` is taken up."""
        _TAKEN.pack_into(self._memory, 0, number, -1, 0, 0.0)

    def asked_to_stop(self, number: int) -> bool:
        """In the worker: whether the work `number` is to stop."""
        stop: int = _NUMBER.unpack_from(self._memory, _STOP_AT)[0]
        return stop == number

    def ask_to_stop(self, number: int) -> None:
        """In the coordinator: the work `number` is to stop."""
        _NUMBER.pack_into(self._memory, _STOP_AT, number)

    def read(self) -> Mark:
        """In the coordinator: what the worker has noted last."""
        return Mark(*_TAKEN.unpack_from(self._memory, 0))

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
