"""Which values nobody can change, so that the memory tier may hand out the same object again and again."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import re
import sys
import uuid
from typing import TypeAlias, cast

__all__ = ["is_immutable", "is_zone_info"]

_ATOMS = frozenset(
    {
        *(type(None), type(...), type(NotImplemented), bool, int, float, complex, str, bytes, range),
        *(datetime.date, datetime.timedelta, datetime.timezone, decimal.Decimal, fractions.Fraction, uuid.UUID),
        *(pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath, re.Pattern),
    }
)
_Collection: TypeAlias = "tuple[object, ...] | frozenset[object]"
_COLLECTIONS = frozenset({tuple, frozenset})
_CLOCKS = frozenset({datetime.datetime, datetime.time})
_MAX_DEPTH = 16
_MAX_ITEMS = 10_000


def is_immutable(value: object) -> bool:
    """Whether nobody can change `value`, so that several callers may be given the same object.

    Only exact types are trusted: a subclass may have attributes. Large or deeply nested tuples count as mutable,
    because looking through them takes longer than it gains. An enum member counts as immutable whatever its value
    is, because there is only one of it: every way to store it gives back that same object.
    """
    if type(value) in _ATOMS:
        return True
    if type(value) in _COLLECTIONS:
        return _holds_immutable(cast("_Collection", value), _MAX_DEPTH, [_MAX_ITEMS])
    return _is_immutable_atom(value)


def _holds_immutable(values: _Collection, depth: int, left: list[int]) -> bool:
    left[0] -= len(values)
    if left[0] < 0 or depth == 0:
        return False
    for value in values:
        if type(value) in _ATOMS:
            continue
        if type(value) in _COLLECTIONS:
            if not _holds_immutable(cast("_Collection", value), depth - 1, left):
                return False
        elif not _is_immutable_atom(value):
            return False
    return True


def _is_immutable_atom(value: object) -> bool:
    cls = type(value)
    if cls in _CLOCKS:
        zone = cast("datetime.datetime | datetime.time", value).tzinfo
        return zone is None or type(zone) is datetime.timezone or is_zone_info(zone)
    if isinstance(value, enum.Enum):
        return True
    numpy = sys.modules.get("numpy")
    if numpy is not None and cls.__module__ == "numpy" and issubclass(cls, numpy.generic):
        return not issubclass(cls, numpy.void)  # a record has fields that can be assigned to
    return is_zone_info(value)


def is_zone_info(value: object) -> bool:
    """Whether `value` is a `zoneinfo.ZoneInfo`, which is not imported to find out."""
    zoneinfo = sys.modules.get("zoneinfo")
    return zoneinfo is not None and type(value) is zoneinfo.ZoneInfo
