"""How plugins put facts about calls into one line of text: durations, errors, results.

Nothing here raises, whatever object it is given, and nothing here keeps that object.
"""

from __future__ import annotations

import reprlib
from collections import deque
from typing import Any, Final

__all__ = ["error_line", "format_duration", "one_line", "shorten", "summarise"]

LONGEST: Final = 120
"""Characters that any of these texts may have."""

_SCALARS: Final = (str, bytes, int, float, complex, bool, type(None))
_COLLECTIONS: Final = (list, tuple, dict, set, frozenset, deque)
_FEW: Final = 3

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlong = 30


def format_duration(seconds: float) -> str:
    """`seconds` with the unit that suits them: ``0.25 ms``, ``12 ms``, ``1.50 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds < 0.009995:
        return f"{seconds * 1000:.2f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` on one line without control characters, so that it can neither break a line nor steer a terminal."""
    words = " ".join(text[: 4 * longest].split())
    return shorten("".join(char if char.isprintable() else "?" for char in words), longest)


def shorten(text: str, longest: int) -> str:
    """`text`, or as much of it as fits in `longest` characters with an ellipsis."""
    return text if len(text) <= longest else text[: max(longest - 1, 0)].rstrip() + "…"


def error_line(error: BaseException) -> str:
    """Class and message of an error: ``ValueError: no such city``."""
    try:
        message = str(error)
    except Exception:
        message = ""  # its class has to do
    name = type(error).__name__
    return one_line(f"{name}: {message}" if message else name)


def summarise(result: Any) -> str:
    """What `result` is, in a few words: a number or a short text itself, ``list of 3,376``, or the name of its class.

    Only asks objects of builtin types: the ``repr`` of others may be slow, long or not meant for others' eyes.
    """
    try:
        return one_line(_summary(result))
    except Exception:  # such as an int with too many digits to be printed
        return type(result).__name__


def _summary(result: Any) -> str:
    if result is None:
        return ""
    kind: type[object] = type(result)  # pyright: ignore[reportUnknownVariableType]  # whatever it is
    if kind in _SCALARS:
        return _short.repr(result)
    if kind not in _COLLECTIONS:
        return kind.__name__
    values = [*result, *result.values()] if kind is dict and len(result) <= _FEW else result
    if len(result) <= _FEW and all(type(value) in _SCALARS for value in values):
        return _short.repr(result)
    return f"{kind.__name__} of {len(result):,}"
