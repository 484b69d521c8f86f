"""Numbers as people pass them: durations, counts. One place decides what is refused, and says why."""

from __future__ import annotations

import math
from datetime import timedelta

from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["count", "seconds", "whole"]


def seconds(what: str, value: object, *, positive: bool = False, unit: str = "seconds") -> float:
    """`value` (int, float or timedelta) as a float.

    Args:
        what: Names the argument in the message, e.g. ``task(timeout=...)``.
        value: What the caller gave.
        positive: Refuse 0 as well.
        unit: What the number means, for the message.

    Raises:
        OptionTypeError: Not a number of that sort; a bool is none.
        OptionValueError: Negative, NaN, infinite, or 0 where that is refused.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        sort = "seconds (int or float) or a timedelta" if unit == "seconds" else f"{unit} (int or float)"
        raise OptionTypeError(f"{what} takes {sort}, not {value!r}")
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        bound = "greater than 0" if positive else "0 or more"
        none = "; write None (or leave it out) for no limit" if positive else ""
        raise OptionValueError(f"{what} must be finite and {bound}, not {value!r}{none}")
    return number


def count(what: str, value: object, *, alternative: str = "an int") -> int:
    """`value` as a whole number of 0 or more; a bool is none.

    Raises:
        OptionTypeError: Not an int.
        OptionValueError: Negative.
    """
    number = whole(what, value, alternative=alternative)
    if number < 0:
        raise OptionValueError(f"{what} must be 0 or more, not {number!r}")
    return number


def whole(what: str, value: object, *, alternative: str = "an int") -> int:
    """`value` as an int, for who has bounds of his own; a bool is none.

    Raises:
        OptionTypeError: Not an int.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise OptionTypeError(f"{what} takes {alternative}, not {value!r}")
    return value
