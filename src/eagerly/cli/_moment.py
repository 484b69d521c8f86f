"""Moments, ages and numbers as people write them on a command line: ``30m``, ``7d``, ``2024-05-01``, ``20``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from eagerly.errors import OptionValueError

__all__ = ["age", "moment_or_age", "number"]

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w|)")
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def age(option: str, word: str, *, unit: str = "") -> timedelta:
    """How long: a number with a unit.

    Args:
        option: Which takes it, for messages.
        word: What was written.
        unit: What a number alone means; by default it is refused, as nobody knows what was meant.

    Raises:
        OptionValueError: It is none, or too long.
    """
    found = _AGE.fullmatch(word.strip())
    unit = found[2] or unit if found else ""
    if found is None or not unit:
        hint = f"; write {found[1]}d for days" if found else ""
        raise OptionValueError(f"{option} takes a duration such as 90s, 30m, 2h or 7d, not {word!r}{hint}")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[unit])
    except OverflowError:
        raise OptionValueError(f"{option}={word} is longer than Python can count") from None


def moment_or_age(option: str, word: str | None) -> datetime | None:
    """A moment in ISO 8601, in local time unless it says otherwise; or how long ago.

    Raises:
        OptionValueError: It is neither, or too long ago.
    """
    if word is None:
        return None
    try:
        return datetime.fromisoformat(word).astimezone()  # first, as 20240501 is one
    except (ValueError, OverflowError):
        if _AGE.fullmatch(word.strip()) is None:
            raise OptionValueError(
                f"{option} takes 90s, 30m, 2h or 7d for that long ago, or a moment such as 2024-05-01T12:00, not"
                f" {word!r}"
            ) from None
    try:
        return datetime.now(UTC) - age(option, word)
    except OverflowError:
        raise OptionValueError(f"{option}={word} is before the year 1; write a shorter time") from None


def number(option: str, word: str) -> int:
    """A whole number.

    Raises:
        OptionValueError: It is none.
    """
    try:
        return int(word)
    except ValueError:
        raise OptionValueError(f"{option} takes a number, not {word!r}") from None
