"""The safe format: values as tagged bytes that can be read without running anybody's code, whoever wrote them.

A tag is one byte and stands for one exact type. No tag names a class, a module or a function, so enums, dataclasses
and other classes have none: to find the class would be to run code that the bytes chose. Nothing here unpickles.

Values are trees: one object that is found in two places comes back as two, and a value that contains itself is refused.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import pathlib
import struct
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from eagerly.cache import _safe_array, _safe_table
from eagerly.cache import _safe_time as clock
from eagerly.cache._immutable import is_zone_info
from eagerly.cache._protocol import Buffer
from eagerly.cache._safe_wire import IN_BAND, MAX_DEPTH, Read, Reader, TooDeepError, UnfitError, Write, Writer
from eagerly.errors import CacheError, MissingExtraError

__all__ = ["IN_BAND", "decode", "encode"]

_MAX_FRACTION: Final = 8 * 4096  # bits of each part: to make a Fraction takes time quadratic in them
_DOUBLE = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")


def encode(value: Any) -> tuple[bytes, list[Buffer]]:
    """`value` as a body and the large buffers that belong to it, which are not copied.

    Raises:
        CacheError: Something in it has no safe format; the message has its type and the path to it.
        MissingExtraError: A pandas object, and pyarrow is not installed.
    """
    writer = Writer(_WRITES, _put_other)
    try:
        writer.put(value)
    except UnfitError as error:
        culprit, path = error.value, _path_to(error.value, value, "result") or "result"
        raise CacheError(
            f"{path} is of type {_name(culprit)}, which safe=True cannot store: {error.reason}"
        ) from error.__cause__
    except TooDeepError:
        raise CacheError(
            f"result is of type {_name(value)} and nested more than {MAX_DEPTH} deep, or contains itself; "
            "safe=True cannot store that: return something flatter"
        ) from None
    except MissingExtraError:
        raise
    except Exception as error:  # changed by another thread, out of memory, a warning that is an error
        raise CacheError(
            f"result is of type {_name(value)} and cannot be stored ({type(error).__name__}: {error})"
        ) from error
    return bytes(writer.body), writer.buffers


def decode(body: Buffer, buffers: Sequence[memoryview]) -> Any:
    """What `encode` was given. Any exception means that these are not bytes that it wrote."""
    reader = Reader(_READS, body, buffers)
    value = reader.get()
    reader.finish()
    return value


def _put_none(writer: Writer, _value: None) -> None:
    writer.body += b"N"


def _put_bool(writer: Writer, value: bool) -> None:
    writer.body += b"1" if value else b"0"


def _put_int(writer: Writer, value: int) -> None:
    writer.put_short(b"i", value.to_bytes((value.bit_length() >> 3) + 1, "little", signed=True))


def _get_int(reader: Reader) -> int:
    return int.from_bytes(reader.get_short(), "little", signed=True)


def _put_complex(writer: Writer, value: complex) -> None:
    writer.body += b"c" + _COMPLEX.pack(value.real, value.imag)


def _get_complex(reader: Reader) -> complex:
    return complex(*_COMPLEX.unpack(reader.take(_COMPLEX.size)))


def _put_float(writer: Writer, value: float) -> None:
    writer.body += b"f" + _DOUBLE.pack(value)


def _get_float(reader: Reader) -> float:
    value: float
    (value,) = _DOUBLE.unpack(reader.take(_DOUBLE.size))
    return value


def _put_str(writer: Writer, value: str) -> None:
    writer.put_blob(b"s", value.encode("utf-8", "surrogatepass"))


def _get_str(reader: Reader) -> str:
    return str(reader.get_blob(), "utf-8", "surrogatepass")


def _put_dict(writer: Writer, value: dict[Any, Any]) -> None:
    writer.put_items(b"d", (each for pair in value.items() for each in pair), 2 * len(value))


def _get_dict(reader: Reader) -> dict[Any, Any]:
    flat = reader.get_items()
    value = dict(zip(flat[::2], flat[1::2], strict=True))
    if 2 * len(value) != len(flat):
        raise ValueError("a key is there twice")
    return value


def _get_set(reader: Reader, cls: type[Any]) -> Any:
    items = reader.get_items()
    value = cls(items)
    if len(value) != len(items):
        raise ValueError("an item is there twice")
    return value


def _put_range(writer: Writer, value: range) -> None:
    writer.put_items(b"r", (value.start, value.stop, value.step), 3)


def _put_fraction(writer: Writer, value: fractions.Fraction) -> None:
    parts = (value.numerator, value.denominator)
    if max(part.bit_length() for part in parts) >= _MAX_FRACTION:
        raise UnfitError(value, f"it has more than {_MAX_FRACTION // 8} bytes above or below the line")
    writer.put_items(b"Q", parts, 2)


def _get_fraction(reader: Reader) -> fractions.Fraction:
    above, below = reader.get_items()
    if any(type(part) is not int or part.bit_length() >= _MAX_FRACTION for part in (above, below)):
        raise ValueError("no fraction, or too large a one")
    return fractions.Fraction(above, below)


def _put_path(writer: Writer, value: pathlib.PurePath) -> None:
    if type(value)(str(value)) != value:
        raise UnfitError(value, "its text does not lead back to it")
    writer.put_short(_PATHS[type(value)], str(value).encode("utf-8", "surrogatepass"))


def _put_other(writer: Writer, value: Any) -> None:
    if is_zone_info(value):
        clock.put_zone_info(writer, value)
        return
    described = _safe_array.describe(value) or _safe_table.describe(value)
    if described is None:
        raise UnfitError(value, _why_unfit(value))
    kind, header, data = described
    writer.put_short(b"x", kind.encode("ascii"))
    writer.put(header)
    writer.put_blob(b"B", data)


def _get_other(reader: Reader) -> Any:
    kind, header = str(reader.get_short(), "ascii"), reader.get()
    reader.expect(b"B")
    restore = _safe_array.restore if kind in _safe_array.KINDS else _safe_table.restore
    return restore(kind, header, memoryview(reader.get_blob()))


def _sized(tag: bytes) -> Write:
    def put(writer: Writer, value: Any) -> None:
        writer.put_items(tag, value, len(value))

    return put


_PATHS: Final[dict[type, bytes]] = {
    pathlib.PurePosixPath: b"p",
    pathlib.PosixPath: b"P",
    pathlib.PureWindowsPath: b"w",
    pathlib.WindowsPath: b"W",
}

_WRITES: Final[dict[type, Write]] = {
    type(None): _put_none,
    bool: _put_bool,
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: lambda writer, value: writer.put_blob(b"b", value),
    bytearray: lambda writer, value: writer.put_blob(b"a", value),
    list: _sized(b"l"),
    tuple: _sized(b"t"),
    set: _sized(b"S"),
    frozenset: _sized(b"R"),
    dict: _put_dict,
    range: _put_range,
    datetime.date: clock.put_date,
    datetime.time: clock.put_time,
    datetime.datetime: clock.put_datetime,
    datetime.timedelta: clock.put_timedelta,
    datetime.timezone: clock.put_timezone,
    decimal.Decimal: lambda writer, value: writer.put_short(b"e", str(value).encode("ascii")),
    fractions.Fraction: _put_fraction,
    uuid.UUID: lambda writer, value: writer.put_short(b"u", value.bytes),
    **dict.fromkeys(_PATHS, _put_path),
}


def _path_reader(cls: type[pathlib.PurePath]) -> Read:
    return lambda reader: cls(str(reader.get_short(), "utf-8", "surrogatepass"))


def _get_decimal(reader: Reader) -> decimal.Decimal:
    return decimal.Decimal(str(reader.get_short(), "ascii"))


_BY_TAG: Final[dict[bytes, Read]] = {
    b"N": lambda reader: None,  # noqa: ARG005
    b"0": lambda reader: False,  # noqa: ARG005
    b"1": lambda reader: True,  # noqa: ARG005
    b"i": _get_int,
    b"f": _get_float,
    b"c": _get_complex,
    b"s": _get_str,
    b"b": lambda reader: bytes(reader.get_blob()),
    b"a": lambda reader: bytearray(reader.get_blob()),
    b"l": Reader.get_items,
    b"t": lambda reader: tuple(reader.get_items()),
    b"S": lambda reader: _get_set(reader, set),
    b"R": lambda reader: _get_set(reader, frozenset),
    b"d": _get_dict,
    b"r": lambda reader: range(*reader.get_items()),
    b"D": clock.get_date,
    b"H": clock.get_time,
    b"M": clock.get_datetime,
    b"m": clock.get_timedelta,
    b"z": clock.get_timezone,
    b"Z": clock.get_zone_info,
    b"e": _get_decimal,
    b"Q": _get_fraction,
    b"u": lambda reader: uuid.UUID(bytes=bytes(reader.get_short())),
    **{tag: _path_reader(cls) for cls, tag in _PATHS.items()},
    b"x": _get_other,
}
_READS: Final = {tag[0]: read for tag, read in _BY_TAG.items()}


def _why_unfit(value: Any) -> str:
    import dataclasses
    import enum

    if isinstance(value, enum.Enum):
        way_out = "to find the class of an enum is to run code; return its .value"
    elif dataclasses.is_dataclass(value):
        way_out = "to find the class of a dataclass is to run code; return dataclasses.asdict() of it"
    elif isinstance(value, tuple | list | dict | set | frozenset | str | bytes | int | float):
        way_out = "to find a subclass is to run code; return the plain builtin"
    else:
        way_out = "return plain data, an array or a table"
    return f"{way_out}, or trust the store by a signing_key= in the place of safe=True"


def _path_to(culprit: object, value: object, path: str) -> str | None:
    """Where in `value` the object `culprit` is, which was the first that did not fit."""
    if value is culprit:
        return path
    return next((found for each, at in _items_of(value, path) if (found := _path_to(culprit, each, at))), None)


def _items_of(value: Any, path: str) -> Iterator[tuple[object, str]]:
    cls: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if issubclass(cls, dict):
        for key in value:
            yield key, f"a key of {path}"
            yield value[key], f"{path}[{_short(key)}]"
    elif issubclass(cls, list | tuple):
        for index, each in enumerate(value):
            yield each, f"{path}[{index}]"
    elif issubclass(cls, set | frozenset):
        for each in value:
            yield each, f"an item of {path}"


def _short(key: object) -> str:
    try:
        text = repr(key)
    except Exception:  # an int of more digits than Python writes out
        text = f"<{_name(key)}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
