"""What stores that know nothing but names and bytes put in front of an entry: a head with its tag, time and end.

The head is only for listing and for forgetting in time. It is not signed, and nothing believes it: the entry behind it
has its own end and its own signature.

The format, little-endian: ``eagH``, format version (1 byte), a zero byte, length of the tag in bytes (2), end (8, an
IEEE double, infinity for none), time of storing (8, another), the tag in UTF-8, zero bytes up to a multiple of 64. So
what is aligned in the entry is aligned behind the head as well.
"""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple

from eagerly.cache._protocol import Buffer

__all__ = ["PREVIEW", "Head", "head_of", "make_head", "short"]

_FORMAT: Final = struct.Struct("<4sBxHdd")
_MAGIC: Final = b"eagH"
_VERSION: Final = 1
_ALIGNMENT: Final = 64
_MAX_TAG: Final = 400

PREVIEW: Final = 448
"""So many bytes from the beginning of an object contain its head."""


class Head(NamedTuple):
    """What stands in front of an entry.

    Attributes:
        tag: As given to `put`; the first 400 bytes of it.
        stored_at: Unix time in seconds.
        end: Unix time in seconds, or infinity.
        length: Of the head, in bytes.
    """

    tag: str
    stored_at: float
    end: float
    length: int

    @property
    def expires(self) -> float | None:
        return None if math.isinf(self.end) else self.end


def make_head(tag: str, stored_at: float, expires: float | None) -> bytes:
    """The head of an entry."""
    name = tag.encode()[:_MAX_TAG]
    end = math.inf if expires is None else expires
    return (_FORMAT.pack(_MAGIC, _VERSION, len(name), end, stored_at) + name).ljust(_length(len(name)), b"\0")


def head_of(data: Buffer) -> Head | None:
    """The head at the beginning of `data`, or None if there is none."""
    if len(data) < _FORMAT.size:
        return None
    magic, version, size, end, stored_at = _FORMAT.unpack_from(data)
    length = _length(size)
    if magic != _MAGIC or version != _VERSION or len(data) < length or math.isnan(end):
        return None
    return Head(bytes(data[_FORMAT.size : _FORMAT.size + size]).decode(errors="ignore"), stored_at, end, length)


def short(tag: str) -> str:
    """`tag` as `head_of` gives it back."""
    return tag.encode()[:_MAX_TAG].decode(errors="ignore")


def _length(tag: int) -> int:
    return -(-(_FORMAT.size + tag) // _ALIGNMENT) * _ALIGNMENT
