"""Where the parts of an entry lie: a table of lengths, the body, then large buffers at multiples of 64 bytes.

Only lengths are stored, never positions, so parts cannot overlap or lie outside. Nothing is allocated by a length
before it is known that as many bytes are there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from eagerly.cache._protocol import Buffer
from eagerly.errors import CorruptEntryError

__all__ = ["checksum", "find_payload", "make_table", "pad", "place_buffers", "size_of"]

_ALIGNMENT: Final = 64


def size_of(parts: Sequence[Buffer]) -> int:
    """How many bytes `parts` are together."""
    return sum([part.nbytes if isinstance(part, memoryview) else len(part) for part in parts])


def make_table(lengths: Sequence[int]) -> bytes:
    """`lengths` as bytes, 8 for each."""
    return struct.pack(f"<{len(lengths)}Q", *lengths)


def pad(position: int, alignment: int = _ALIGNMENT) -> bytes:
    """The zeros that lead from `position` to the next multiple of `alignment`."""
    return bytes(-position % alignment)


def place_buffers(position: int, buffers: Sequence[Buffer]) -> list[Buffer]:
    """`buffers` with the padding that is due before each, when they begin at `position` or after it."""
    parts: list[Buffer] = []
    for buffer in buffers:
        padding = pad(position)
        parts += (padding, buffer) if padding else (buffer,)
        position += len(padding) + size_of((buffer,))
    return parts


def find_payload(
    view: Buffer, table: int, count: int, body_size: int, end: int, alignment: int = 1
) -> tuple[int, list[slice]]:
    """Where the body ends and where the buffers are, if the entry, which ends at `end`, holds exactly them.

    Args:
        view: The entry.
        table: Where the table begins.
        count: How many lengths are in it.
        body_size: How long the body is, which follows the table.
        end: Where the last part has to end.
        alignment: To what the whole was padded.

    Raises:
        CorruptEntryError: The lengths do not add up to `end`.
    """
    stop = split = table + 8 * count + body_size
    places: list[slice] = []
    if count and split <= end <= len(view):
        for length in struct.unpack_from(f"<{count}Q", view, table):
            start = stop + -stop % _ALIGNMENT
            stop = start + length
            places.append(slice(start, stop))
    stop += -stop % alignment
    if stop != end:
        raise CorruptEntryError(f"the lengths in this entry add up to {stop} bytes, but it has {end}")
    return split, places


def checksum(parts: Sequence[Buffer]) -> int:
    """CRC-32 of the concatenation of `parts`.

    No cryptographic hash, because it is there to find damage, of which it misses one in four billion, and is three to
    five times as fast as the best of them. Against people there are signatures.
    """
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found
