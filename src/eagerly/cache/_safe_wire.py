"""The bytes of the safe format: how lengths, short pieces and large ones are written, and read without trusting any.

What the tags mean is said in `_safe`. Every length is checked against the bytes that are there before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from eagerly.cache._protocol import Buffer

__all__ = ["IN_BAND", "MAX_DEPTH", "Read", "Reader", "TooDeepError", "UnfitError", "Write", "Writer"]

IN_BAND: Final = 4096
"""Pieces smaller than this many bytes stay in the body: a place of their own would cost more than copying them."""

MAX_DEPTH: Final = 100

Write: TypeAlias = "Callable[[Writer, Any], None]"
Read: TypeAlias = "Callable[[Reader], Any]"


class UnfitError(Exception):
    """`value` has no safe format, and why."""

    def __init__(self, value: Any, reason: str) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason


class TooDeepError(Exception):
    """A value is nested deeper than `MAX_DEPTH`, or contains itself."""


class Writer:
    """A body that grows, and the large buffers that belong to it.

    Args:
        writes: What writes a value of exactly this type.
        otherwise: What writes, or refuses, values of other types.
    """

    __slots__ = ("_depth", "_otherwise", "_writes", "body", "buffers")

    def __init__(self, writes: Mapping[type[Any], Write], otherwise: Write) -> None:
        self.body = bytearray()
        self.buffers: list[Buffer] = []
        self._writes = writes
        self._otherwise = otherwise
        self._depth = 0

    def put(self, value: object) -> None:
        """Write a value of any type."""
        self._writes.get(type(value), self._otherwise)(self, value)

    def put_length(self, length: int) -> None:
        if length < 255:
            self.body.append(length)
        else:
            self.body += b"\xff" + length.to_bytes(8, "little")

    def put_short(self, tag: bytes, data: bytes) -> None:
        """Write `data` into the body, whatever its size."""
        self.body += tag
        self.put_length(len(data))
        self.body += data

    def put_blob(self, tag: bytes, data: Buffer) -> None:
        """Write `data` into the body if it is small, else beside it."""
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        self.body += tag
        if size < IN_BAND:
            self.body.append(0)
            self.put_length(size)
            self.body += data
        else:
            self.body.append(1)
            self.buffers.append(data)

    def put_items(self, tag: bytes, values: Iterable[object], count: int) -> None:
        """Write `count`, then each of `values`."""
        if self._depth == MAX_DEPTH:
            raise TooDeepError
        self._depth += 1
        self.body += tag
        self.put_length(count)
        writes, otherwise = self._writes, self._otherwise
        for value in values:
            writes.get(type(value), otherwise)(self, value)
        self._depth -= 1


class Reader:
    """Takes apart what `Writer` made. Raises whatever it raises when that is not what the bytes are.

    Args:
        reads: What reads the value behind a tag.
        body: The body.
        buffers: What belongs to it, in order.
    """

    __slots__ = ("_at", "_body", "_buffers", "_depth", "_end", "_reads")

    def __init__(self, reads: Mapping[int, Read], body: Buffer, buffers: Sequence[memoryview]) -> None:
        self._reads = reads
        self._body = body
        self._at = 0
        self._end = len(body)
        self._buffers = iter(buffers)
        self._depth = 0

    def get(self) -> Any:
        """The next value."""
        return self._reads[self.get_byte()](self)

    def get_byte(self) -> int:
        byte = self._body[self._at]  # beyond the end: IndexError
        self._at += 1
        return byte

    def get_length(self) -> int:
        length = self.get_byte()
        return length if length < 255 else int.from_bytes(self.take(8), "little")

    def get_short(self) -> Buffer:
        return self.take(self.get_length())

    def get_blob(self) -> Buffer:
        place = self.get_byte()
        if place > 1:
            raise ValueError("a piece is neither in the body nor beside it")
        return next(self._buffers) if place else self.get_short()  # none left: StopIteration

    def get_items(self) -> list[Any]:
        return self.get_list(self.get_length())

    def get_list(self, count: int) -> list[Any]:
        """The next `count` values."""
        if count > self._end - self._at:  # each takes a byte at least
            raise ValueError("there are fewer bytes than items")
        if self._depth == MAX_DEPTH:
            raise ValueError("nested too deep")
        self._depth += 1
        get = self.get
        values = [get() for _ in range(count)]
        self._depth -= 1
        return values

    def take(self, size: int) -> Buffer:
        """The next `size` bytes."""
        start, stop = self._at, self._at + size
        if stop > self._end:
            raise ValueError("the bytes end within a value")
        self._at = stop
        return self._body[start:stop]

    def expect(self, tag: bytes) -> None:
        if self.get_byte() != tag[0]:
            raise ValueError(f"the tag {tag!r} is missing")

    def finish(self) -> None:
        if self._at != self._end or next(self._buffers, None) is not None:
            raise ValueError("there are more bytes than the value needs")
