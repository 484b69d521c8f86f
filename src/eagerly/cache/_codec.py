"""How a value becomes bytes and comes back: which codec, in which order.

Headers, keys, expiry and signatures are the business of `_envelope`. Nothing here opens a file or knows a store.

The order is: `bytes` and `str` as they are, then pickle 5, then cloudpickle for what pickle refuses (lambdas, local
functions and classes). Classes and functions of ``__main__`` go by reference, also through cloudpickle: a copy of a
class would not be equal to it and not pass `isinstance`. A program whose ``__main__`` has no such name cannot read the
entry, which is a miss there.

Large memory of a value (arrays) is never copied: it becomes buffers beside the body, and comes back as slices of what
was read. A value that is decoded from writable memory lives in that memory.
"""

from __future__ import annotations

import functools
import pickle
import struct
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from eagerly.cache import _safe
from eagerly.cache._payload import find_payload, make_table, pad, place_buffers, size_of
from eagerly.cache._protocol import Buffer
from eagerly.errors import CacheError, CorruptEntryError, UntrustedEntryError

__all__ = [
    "CLOUDPICKLE",
    "IN_BAND",
    "PICKLE",
    "RAW",
    "SAFE",
    "STREAM",
    "TEXT",
    "Encoded",
    "codec_name",
    "decode_value",
    "encode_value",
    "iter_frames",
    "pack_item",
    "size_of",
    "unpack_item",
]

RAW: Final = 1
TEXT: Final = 2
PICKLE: Final = 3
CLOUDPICKLE: Final = 4
SAFE: Final = 5
STREAM: Final = 6
"""A sequence of frames, see `iter_frames`; never the codec of a single value."""

_NAMES: Final = {
    RAW: "bytes",
    TEXT: "str",
    PICKLE: "pickle",
    CLOUDPICKLE: "cloudpickle",
    SAFE: "safe",
    STREAM: "stream",
}

_FRAME: Final = struct.Struct("<B3xIQQ")  # codec, number of buffers, size of the body, size of the frame
_FRAME_ALIGNMENT: Final = 8

IN_BAND: Final = _safe.IN_BAND
"""Buffers smaller than this many bytes stay in the body: a place of their own would cost more than copying them."""


Encoded: TypeAlias = "tuple[int, Buffer, list[Buffer]]"
"""Codec, body and buffers: what `decode_value` takes. No named tuple, because that would take half as long again."""


def codec_name(codec: int) -> str:
    """What people call a codec."""
    return _NAMES.get(codec, f"codec {codec}")


def encode_value(value: object, *, safe: bool) -> Encoded:
    """`value` as bytes. The buffers are the memory of the value itself: what changes it, changes them.

    Args:
        value: Anything that pickle or cloudpickle takes.
        safe: Use only formats that cannot run code when they are read.

    Raises:
        CacheError: It cannot be encoded; the message says why, and where in the value.
        MissingExtraError: A table with ``safe=True``, and the library that writes Arrow is not installed.
    """
    if type(value) is bytes:
        return (RAW, value, []) if len(value) < IN_BAND else (RAW, b"", [value])
    if type(value) is str:
        text = value.encode("utf-8", "surrogatepass")
        return (TEXT, text, []) if len(text) < IN_BAND else (TEXT, b"", [text])
    if safe:
        body, buffers = _safe.encode(value)
        return SAFE, body, buffers
    kept: list[Buffer] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < IN_BAND:
            return True
        kept.append(raw)
        return False

    try:
        return PICKLE, pickle.dumps(value, 5, buffer_callback=keep_in_band), kept
    except (pickle.PicklingError, AttributeError, TypeError):
        kept.clear()
    except Exception as error:
        raise _unstorable(value, error) from error
    try:
        return CLOUDPICKLE, _dump_by_value(value, keep_in_band), kept
    except Exception as error:
        raise _unstorable(value, error) from error


def decode_value(codec: int, body: Buffer, buffers: Sequence[memoryview], *, safe: bool) -> Any:
    """The value that `encode_value` was given. Buffers that are read-only are copied, as the value may be written to.

    Raises:
        CorruptEntryError: These are not the bytes of a value, or not of one that can be made here: its class is gone,
            a module is not installed. The cause is chained.
        UntrustedEntryError: ``safe=True``, and the codec can run code. Nothing was unpickled then.
    """
    if safe and codec in (PICKLE, CLOUDPICKLE):
        raise UntrustedEntryError(
            f"this entry was written with {codec_name(codec)}, which can run code when it is read; "
            "with safe=True it is not unpickled"
        )
    try:
        if codec in (PICKLE, CLOUDPICKLE):
            if not buffers:
                return pickle.loads(body)
            return pickle.loads(body, buffers=[bytearray(each) if each.readonly else each for each in buffers])
        if codec == SAFE:
            return _safe.decode(body, buffers)
        if codec in (RAW, TEXT):
            (data,) = (body, *buffers) if body or not buffers else buffers  # in one piece, here or there
            return bytes(data) if codec == RAW else str(data, "utf-8", "surrogatepass")
    except Exception as error:
        raise _unreadable(codec, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what Rust extensions, such as polars, raise on bytes they hate
            raise
        raise _unreadable(codec, error) from error
    raise CorruptEntryError(f"there is no codec {codec} for a value")


def pack_item(value: object, *, safe: bool) -> bytes:
    """`value` as one frame: a piece of bytes that knows its own length, so that frames may simply follow one another.

    A frame has no checksum: the entry that it becomes part of has one over all of them.

    Raises:
        CacheError: As for `encode_value`.
        MissingExtraError: As for `encode_value`.
    """
    codec, body, buffers = encode_value(value, safe=safe)
    table = make_table([size_of((each,)) for each in buffers])
    split = _FRAME.size + len(table) + len(body)
    parts = place_buffers(split, buffers)
    size = split + size_of(parts)
    padding = pad(size, _FRAME_ALIGNMENT)
    return b"".join((_FRAME.pack(codec, len(buffers), len(body), size + len(padding)), table, body, *parts, padding))


def unpack_item(data: Buffer, *, safe: bool) -> Any:
    """The value of one frame. It lives in `data` if that is writable.

    Raises:
        CorruptEntryError: As for `decode_value`; or `data` is not exactly one frame.
        UntrustedEntryError: As for `decode_value`.
    """
    view = memoryview(data)
    if view.nbytes < _FRAME.size:
        raise CorruptEntryError(f"an item of a stream has {view.nbytes} bytes, which is too short")
    codec, count, body_size, size = _FRAME.unpack_from(view)
    split, places = find_payload(view, _FRAME.size, count, body_size, size, _FRAME_ALIGNMENT)
    if size != view.nbytes:
        raise CorruptEntryError(f"an item of a stream should have {size} bytes, but has {view.nbytes}")
    return decode_value(codec, view[split - body_size : split], [view[each] for each in places], safe=safe)


def iter_frames(view: memoryview) -> Iterator[memoryview]:
    """The frames that follow one another in `view`, as slices of it.

    Raises:
        CorruptEntryError: From the iterator, where the next piece is no frame.
    """
    at, end = 0, view.nbytes
    while at < end:
        size = _FRAME.unpack_from(view, at)[3] if at + _FRAME.size <= end else 0
        if size < _FRAME.size or size > end - at:
            raise CorruptEntryError(f"at byte {at} of a recorded stream of {end} bytes there is no item")
        yield view[at : at + size]
        at += size


def _unstorable(value: object, error: Exception) -> CacheError:
    cls = type(value)
    return CacheError(
        f"a value of type {cls.__module__}.{cls.__qualname__} cannot be stored: neither pickle nor cloudpickle takes "
        f"it ({type(error).__name__}: {error}); return data instead, or give the class at fault a __reduce__"
    )


def _unreadable(codec: int, error: BaseException) -> CorruptEntryError:
    return CorruptEntryError(
        f"the value of this entry cannot be made from its {codec_name(codec)} bytes ({type(error).__name__}: {error})"
    )


def _dump_by_value(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    import io

    file = io.BytesIO()
    _value_pickler()(file, 5, keep_in_band).dump(value)
    return file.getvalue()


@functools.cache
def _value_pickler() -> Callable[..., Any]:
    import io

    import cloudpickle

    base: Any = cloudpickle.Pickler
    refused: tuple[type[Any], ...] = (io.IOBase, memoryview)

    class Pickler(base):  # type: ignore[misc]  # untyped
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, refused):  # cloudpickle would give a copy of the content instead
                raise pickle.PicklingError(f"a {type(obj).__name__} would come back as something else")
            return NotImplemented if _is_named_in_main(obj) else base.reducer_override(self, obj)

    return Pickler


def _is_named_in_main(obj: Any) -> bool:
    if not isinstance(obj, type | types.FunctionType) or obj.__module__ != "__main__":
        return False
    found: Any = sys.modules.get("__main__")
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj
