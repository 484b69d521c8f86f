"""Dates, times and time zones in the safe format. A zone is an offset, or a name in the system's zone database."""

from __future__ import annotations

import datetime
import re
import struct
from typing import Any

from eagerly.cache._immutable import is_zone_info
from eagerly.cache._safe_wire import Reader, UnfitError, Writer

__all__ = [
    "get_date",
    "get_datetime",
    "get_time",
    "get_timedelta",
    "get_timezone",
    "get_zone_info",
    "put_date",
    "put_datetime",
    "put_time",
    "put_timedelta",
    "put_timezone",
    "put_zone_info",
]

_DATE = struct.Struct("<HBB")
_CLOCK = struct.Struct("<BBBIB")
_DELTA = struct.Struct("<iII")
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def put_date(writer: Writer, value: datetime.date) -> None:
    writer.body += b"D" + _DATE.pack(value.year, value.month, value.day)


def get_date(reader: Reader) -> datetime.date:
    return datetime.date(*_DATE.unpack(reader.take(_DATE.size)))


def put_time(writer: Writer, value: datetime.time) -> None:
    writer.body += b"H"
    _put_clock(writer, value)


def get_time(reader: Reader) -> datetime.time:
    hour, minute, second, microsecond, fold, zone = _get_clock(reader)
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def put_datetime(writer: Writer, value: datetime.datetime) -> None:
    writer.body += b"M" + _DATE.pack(value.year, value.month, value.day)
    _put_clock(writer, value)


def get_datetime(reader: Reader) -> datetime.datetime:
    year, month, day = _DATE.unpack(reader.take(_DATE.size))
    hour, minute, second, microsecond, fold, zone = _get_clock(reader)
    return datetime.datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def put_timedelta(writer: Writer, value: datetime.timedelta) -> None:
    writer.body += b"m" + _DELTA.pack(value.days, value.seconds, value.microseconds)


def get_timedelta(reader: Reader) -> datetime.timedelta:
    return datetime.timedelta(*_DELTA.unpack(reader.take(_DELTA.size)))


def put_timezone(writer: Writer, value: datetime.timezone) -> None:
    given: Any = value
    arguments: tuple[object, ...] = given.__getinitargs__()
    writer.put_items(b"z", arguments, len(arguments))  # the offset, and the name if it was given one


def get_timezone(reader: Reader) -> datetime.timezone:
    return datetime.timezone(*reader.get_items())


def put_zone_info(writer: Writer, value: Any) -> None:
    if not _ZONE_NAME.fullmatch(value.key or ""):
        raise UnfitError(value, "it has no name in the system's zone database; use datetime.timezone")
    writer.put_short(b"Z", value.key.encode("ascii"))


def get_zone_info(reader: Reader) -> datetime.tzinfo:
    import zoneinfo

    name = str(reader.get_short(), "ascii")
    if not _ZONE_NAME.fullmatch(name):  # the name becomes a path
        raise ValueError(f"{name!r} is no time zone")
    return zoneinfo.ZoneInfo(name)


def _put_clock(writer: Writer, value: datetime.datetime | datetime.time) -> None:
    zone: object = value.tzinfo
    if zone is not None and type(zone) is not datetime.timezone and not is_zone_info(zone):
        raise UnfitError(
            value, f"its time zone is of type {type(zone).__qualname__}; use datetime.timezone or zoneinfo.ZoneInfo"
        )
    writer.body += _CLOCK.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    writer.put(zone)


def _get_clock(reader: Reader) -> tuple[int, int, int, int, int, datetime.tzinfo | None]:
    hour, minute, second, microsecond, fold = _CLOCK.unpack(reader.take(_CLOCK.size))
    zone = reader.get()
    if zone is not None and type(zone) is not datetime.timezone and not is_zone_info(zone):
        raise ValueError("a time has a zone that is none")
    return hour, minute, second, microsecond, fold, zone
