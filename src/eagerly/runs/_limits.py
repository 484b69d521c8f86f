"""What people pass to the functions on runs: checked in one place, which says what is refused and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from eagerly._numbers import count, seconds, whole
from eagerly._run_options import short_word
from eagerly._wire import in_words
from eagerly.errors import OptionTypeError, OptionValueError
from eagerly.runs._record import RunError, microseconds, now

__all__ = [
    "MAX_PAGE",
    "MAX_REASON",
    "MAX_SUMMARY",
    "clean",
    "page_number",
    "run_error",
    "since_when",
    "size",
    "so_long_ago",
    "tag_list",
    "text",
    "unit_interval",
    "waiting_time",
    "whole_number",
    "word",
]

MAX_SUMMARY: Final = 1000
MAX_REASON: Final = 500
MAX_PAGE: Final = 1000

_MAX_PAGES: Final = 10**15
"""Pages that can be asked for: so many of the largest are as many runs as databases can count."""

_FIRST: Final = microseconds(datetime.min.replace(tzinfo=UTC))
_LAST: Final = microseconds(datetime.max.replace(tzinfo=UTC))


def text(what: str, value: object, *, longest: int | None = None, empty: bool = True) -> str:
    """`value` as a string that every store can keep.

    Raises:
        OptionTypeError: Not a string.
        OptionValueError: Longer than `longest`, or empty where that is refused.
    """
    if not isinstance(value, str):
        raise OptionTypeError(f"{what} takes a string, not {value!r}")
    if longest is not None and len(value) > longest:
        raise OptionValueError(f"{what} takes {longest} characters at most, and these are {len(value)}")
    if not empty and not value.strip():
        raise OptionValueError(f"{what} must not be empty")
    return clean(value)


def word(what: str, value: object) -> str:
    """A name, tag or key: text that is not empty, and that every store has room for in its indexes.

    Raises:
        OptionTypeError: Not a string.
        OptionValueError: Empty, or too long.
    """
    return short_word(what, text(what, value, empty=False))


def clean(value: str) -> str:
    """`value` without what is no text: halves of surrogate pairs and NUL, which databases refuse."""
    return value.encode(errors="backslashreplace").decode().replace("\0", "\ufffd")


def unit_interval(what: str, value: object) -> float:
    """A number from 0 to 1.

    Raises:
        OptionTypeError: Not a number; a bool is none.
        OptionValueError: Outside, or NaN.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise OptionTypeError(f"{what} takes a number from 0 to 1, not {value!r}")
    if not 0 <= value <= 1:  # as NaN is not
        raise OptionValueError(f"{what} takes a number from 0 to 1, not {value!r}")
    return float(value)


def whole_number(what: str, value: object) -> int:
    """A whole number of 0 or more that fits into a column."""
    number = count(what, value)
    if number >= 2**63:
        raise OptionValueError(f"{what} must be less than 2**63, not {number}")
    return number


def size(what: str, value: object) -> int:
    """How many runs a page has: 1 to 1000."""
    number = whole(what, value)
    if not 1 <= number <= MAX_PAGE:
        raise OptionValueError(f"{what} takes 1 to {MAX_PAGE}, not {number}")
    return number


def page_number(what: str, value: object) -> int:
    """Which page: from 1, to as many as there can be."""
    number = whole(what, value)
    if number < 1:
        raise OptionValueError(f"{what} takes 1 or more, not {number}")
    if number > _MAX_PAGES:
        raise OptionValueError(f"{what} takes 10**15 at most, not {number}")
    return number


def waiting_time(what: str, value: object) -> float | None:
    """Seconds to wait, more than 0; None for no limit."""
    return None if value is None else seconds(what, value, positive=True)


def tag_list(what: str, value: object) -> tuple[str, ...]:
    """Tags in order, each once.

    Raises:
        OptionTypeError: Not strings, or one string in the place of several.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise OptionTypeError(f"{what} takes a list of strings, not {value!r}; write tags=['nightly']")
    tags = tuple(cast("Iterable[object]", value))
    return tuple(dict.fromkeys(word(what, each) for each in tags))


def since_when(what: str, value: object) -> int | None:
    """A moment as in a record; a timedelta means that long ago.

    Raises:
        OptionTypeError: It is neither.
        OptionValueError: A datetime that does not know its time zone.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        return _before_now(f"{what}={value!r}", value // timedelta(microseconds=1))
    if not isinstance(value, datetime):
        raise OptionTypeError(f"{what} takes a datetime or, for that long ago, a timedelta, not {value!r}")
    if value.utcoffset() is None:
        raise OptionValueError(
            f"{what}={value.isoformat()} does not say in which time zone; write {what}=datetime(..., tzinfo=UTC)"
        )
    return microseconds(value)


def so_long_ago(what: str, value: object) -> int:
    """The moment so many seconds ago, as in a record.

    Raises:
        OptionTypeError: Neither a number nor a timedelta.
        OptionValueError: Negative, or before the year 1.
    """
    length = seconds(what, value)
    return _before_now(what.replace("...", repr(value)), int(length * 1e6) if length < 1e12 else -_FIRST * 2)


def _before_now(told: str, length: int) -> int:
    """So many microseconds ago, if that is a moment that Python has."""
    stamp = now() - length
    if not _FIRST <= stamp <= _LAST:
        where = "before the year 1" if length > 0 else "after the year 9999"
        raise OptionValueError(f"{told} is {where}; write a shorter time")
    return stamp


def run_error(what: str, value: object) -> RunError:
    """Why a run has failed, from an exception, a message, or a mapping with ``type``, ``message`` and ``traceback``.

    Raises:
        OptionTypeError, OptionValueError: It is none of these, or has other keys.
    """
    if isinstance(value, RunError):
        found = value
    elif isinstance(value, BaseException):
        found = RunError(type(value).__name__, *in_words(value))
    elif isinstance(value, str):
        found = RunError("", value)
    elif isinstance(value, Mapping):
        given = dict(cast("Mapping[str, Any]", value))
        unknown = sorted(given.keys() - set(RunError._fields), key=str)
        if unknown or "message" not in given:
            raise OptionValueError(
                f"{what} takes a mapping with message and, if need be, type, traceback and kind, not {value!r}"
            )
        found = RunError(**{"type": "", **given})
    else:
        raise OptionTypeError(f"{what} takes an exception, a string or a mapping, not {value!r}")
    return RunError(*(text(f"{what}.{name}", each) for name, each in zip(RunError._fields, found, strict=True)))
