"""The items of a stream, recorded one by one as they pass, and replayed one by one.

Each item is packed when it passes, so that what its consumer does to it afterwards is not recorded.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Final

from eagerly.cache._codec import iter_frames, pack_item, unpack_item

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["Recording", "replay"]

IN_MEMORY: Final = 8 << 20
"""Bytes of a recording that are kept in memory; what is more goes to a temporary file."""


class Recording:
    """The items of one stream so far.

    Args:
        safe: Whether only formats that cannot run code may be used.
    """

    __slots__ = ("_file", "_frames", "_safe", "_size")

    def __init__(self, safe: bool) -> None:
        self._safe = safe
        self._frames: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def add(self, item: Any) -> None:
        """Record an item.

        Raises:
            Exception: Whatever its pickling raises.
        """
        frame = pack_item(item, safe=self._safe)
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > IN_MEMORY:
            self._spill()

    def finish(self, end: Any) -> list[Buffer]:
        """The whole recording: the items, and after them what the stream returned."""
        self._frames.append(pack_item(end, safe=self._safe))
        if self._file is None:
            return list(self._frames)
        self._spill()
        with self._file as file:  # what is mapped stays when the file is closed
            file.flush()
            return [memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))]

    def __del__(self) -> None:
        # Most recordings end by being dropped; without this, each that has spilled would warn of an unclosed file.
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="eagerly-stream-")  # noqa: SIM115 - lives as long as this does
        self._file.writelines(self._frames)
        self._frames.clear()
        self._size = 0


def replay(frames: Buffer, safe: bool) -> Callable[[], Any]:
    """A function that gives one item after another, and raises StopIteration with what the stream returned."""
    waiting: Iterator[memoryview] = iter_frames(memoryview(frames))
    following = next(waiting)

    def step() -> Any:
        nonlocal following
        frame, following = following, next(waiting, following)
        item = unpack_item(frame, safe=safe)
        if following is frame:
            raise StopIteration(item)
        return item

    return step
