"""Encodings of values that have no parts: numbers, text, bytes, instants, paths, and others of the standard library.

Each goes by its exact type. A subclass is another type and is encoded as an instance, in `_encode_records`.
"""

from __future__ import annotations

import array
import datetime
import decimal
import fractions
import io
import pathlib
import re
import struct
import sys
import uuid
import zoneinfo
from typing import Any, Final

from eagerly.cache._encode_buffers import FOLD_FROM, bounded
from eagerly.cache._encode_walk import HANDLERS, Refused, Walk, guarded, record, sized

__all__ = ["NAN", "encode_text"]

_pack_int = struct.Struct("<cq").pack
_pack_float = struct.Struct("<cd").pack
_pack_complex = struct.Struct("<cdd").pack
_pack_size = struct.Struct("<cQ").pack
_pack_date = struct.Struct("<cHBB").pack
_pack_time = struct.Struct("<BBBIB").pack
_pack_delta = struct.Struct("<ciII").pack

NAN: Final = float("nan")
BYTE_ORDER: Final = sys.byteorder.encode()


def encode_text(value: str) -> bytes:
    """UTF-8 in which lone surrogates are three bytes each, so that no two strings are the same bytes."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def _int(value: int, _walk: Walk) -> bytes:
    try:
        return _pack_int(b"i", value)
    except struct.error:
        return bounded(b"I", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _float(value: float, _walk: Walk) -> bytes:
    return _pack_float(b"f", value) if value == value else b"F"  # NaN is one value


def _complex(value: complex, _walk: Walk) -> bytes:
    real, imag = value.real, value.imag
    return _pack_complex(b"c", real if real == real else NAN, imag if imag == imag else NAN)


def _str(value: str, _walk: Walk) -> bytes:
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogatepass")
    return _pack_size(b"s", len(raw)) + raw if len(raw) < FOLD_FROM else bounded(b"s", raw)


def _bytes(value: bytes, _walk: Walk) -> bytes:
    return _pack_size(b"b", len(value)) + value if len(value) < FOLD_FROM else bounded(b"b", value)


def _bytearray(value: bytearray, _walk: Walk) -> bytes:
    return bounded(b"B", value)


def _memoryview(value: memoryview, walk: Walk) -> bytes:
    flat = value if value.c_contiguous else memoryview(value.tobytes())
    return record("memoryview", value.format.encode(), walk(value.shape), bounded(b"m", flat))


def _array(value: array.array[Any], _walk: Walk) -> bytes:
    if value.typecode == "u":
        return record("array", b"u", encode_text(value.tounicode()))
    floats = f"={value.typecode}" if value.typecode in "fd" else ""
    return record("array", value.typecode.encode(), BYTE_ORDER, bounded(b"a", value, floats))


def _date(value: datetime.date, _walk: Walk) -> bytes:
    return _pack_date(b"y", value.year, value.month, value.day)


def _clock(value: datetime.datetime | datetime.time) -> bytes:
    return _pack_time(value.hour, value.minute, value.second, value.microsecond, value.fold)


def _datetime(value: datetime.datetime, walk: Walk) -> bytes:
    zone = value.tzinfo
    return (
        _pack_date(b"Y", value.year, value.month, value.day)
        + _clock(value)
        + (b"-" if zone is None else walk(zone, ".tzinfo"))
    )


def _time(value: datetime.time, walk: Walk) -> bytes:
    zone = value.tzinfo
    return b"t" + _clock(value) + (b"-" if zone is None else walk(zone, ".tzinfo"))


def _timedelta(value: datetime.timedelta, _walk: Walk) -> bytes:
    return _pack_delta(b"D", value.days, value.seconds, value.microseconds)


def _timezone(value: datetime.timezone, walk: Walk) -> bytes:
    offset: datetime.timedelta = value.utcoffset(None)
    name = value.tzname(None)
    given = name != datetime.timezone(offset).tzname(None)
    return record("timezone", walk(offset), walk(name if given else None))


def _zoneinfo(value: zoneinfo.ZoneInfo, _walk: Walk) -> bytes:
    if not value.key:
        raise Refused("it was read from a file and has no name", value)
    return record("ZoneInfo", value.key.encode())


def _decimal(value: decimal.Decimal, walk: Walk) -> bytes:
    sign, digits, exponent = value.as_tuple()
    return record("Decimal", sign.to_bytes(1, "little"), walk(exponent), bytes(digits))


def _fraction(value: fractions.Fraction, walk: Walk) -> bytes:
    return record("Fraction", walk(value.numerator), walk(value.denominator))


def _uuid(value: uuid.UUID, _walk: Walk) -> bytes:
    return sized(b"u", value.bytes)


def _path(value: pathlib.PurePath, _walk: Walk) -> bytes:
    return record("path", type(value).__name__.encode(), encode_text(value.__fspath__()))


def _pattern(value: re.Pattern[Any], walk: Walk) -> bytes:
    return record("pattern", walk(value.pattern), walk(value.flags))


def _range(value: range, walk: Walk) -> bytes:
    return record("range", walk(value.start), walk(value.stop), walk(value.step))


def _slice(value: slice, walk: Walk) -> bytes:
    return record("slice", walk(value.start, ".start"), walk(value.stop, ".stop"), walk(value.step, ".step"))


def _bytes_io(value: io.BytesIO, walk: Walk) -> bytes:
    return record("BytesIO", bounded(b"b", value.getvalue()), walk(value.tell()))


def _string_io(value: io.StringIO, walk: Walk) -> bytes:
    state: Any = value.__getstate__()
    return record("StringIO", walk(state[:3]))


HANDLERS.update(
    {
        type(None): lambda _value, _walk: b"N",
        bool: lambda value, _walk: b"1" if value else b"0",
        type(Ellipsis): lambda _value, _walk: b"E",
        type(NotImplemented): lambda _value, _walk: b"n",
        int: _int,
        float: _float,
        complex: _complex,
        str: _str,
        bytes: _bytes,
        bytearray: _bytearray,
        memoryview: guarded(_memoryview),
        array.array: guarded(_array),
        datetime.date: _date,
        datetime.datetime: guarded(_datetime),
        datetime.time: guarded(_time),
        datetime.timedelta: _timedelta,
        datetime.timezone: _timezone,
        zoneinfo.ZoneInfo: _zoneinfo,
        decimal.Decimal: _decimal,
        fractions.Fraction: _fraction,
        uuid.UUID: _uuid,
        re.Pattern: _pattern,
        range: _range,
        slice: guarded(_slice),
        io.BytesIO: guarded(_bytes_io),
        io.StringIO: guarded(_string_io),
    }
)
for _cls in (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath):
    HANDLERS[_cls] = _path
