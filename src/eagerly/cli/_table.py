"""Rows of text: columns for people, JSON for programs. What a store says is shown, but cannot steer a terminal."""

from __future__ import annotations

import datetime
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_NUMBER: Final = re.compile(r"[\d,.]+( [kMGT]?B)?$")

__all__ = [
    "fitted",
    "format_size",
    "format_time",
    "format_wait",
    "json_text",
    "width",
    "write_json",
    "write_lines",
    "write_rows",
]


def write_rows(rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> None:
    """Print `rows` in columns; those that look like numbers are set to the right."""
    body = [tuple(map(_printable, row)) for row in rows]
    table = [tuple(heads), *body] if heads and body else body
    if not table:
        return
    widths = [max(width(row[place]) for row in table) for place in range(len(table[0]))]
    numeric = [all(_NUMBER.match(row[place]) for row in body) for place in range(len(widths))]
    for row in table:
        cells = [
            cell.rjust(room) if right else cell + " " * (room - width(cell))
            for cell, room, right in zip(row, widths, numeric, strict=True)
        ]
        write_lines("  ".join(cells).rstrip())


def write_lines(*lines: str) -> None:
    """Print `lines`. What standard output cannot encode is escaped."""
    text = "".join(f"{_printable(line)}\n" for line in lines)
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def write_json(value: Any, *, indent: int | None = 2) -> None:
    """Print `value` as JSON in ASCII; times in ISO 8601. Without `indent` it is one line."""
    sys.stdout.write(json_text(value, indent=indent) + "\n")


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """What `write_json` prints.

    Raises:
        TypeError, ValueError, RecursionError: JSON does not have it, even if strings stand for what it does not know.
    """
    return json.dumps(value, indent=indent, default=_plain, allow_nan=False)


def width(text: str) -> int:
    """Columns of a terminal that `text` takes: two for a wide character, none for one that joins the one before."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    return 0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")


def fitted(text: str, room: int) -> str:
    """`text`, or its beginning if it takes more than so many columns."""
    if width(text) <= room:
        return text
    rest = room - len("...")
    for place, char in enumerate(text):
        rest -= _columns(char)
        if rest < 0:
            return f"{text[:place]}..."
    raise AssertionError("it takes more than that")


def format_size(count: int) -> str:
    """`count` bytes with the unit that suits them: ``12 B``, ``4.5 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes everything")


def format_time(moment: float | datetime.datetime | None) -> str:
    """A moment in local time, to the second; nothing for None."""
    if moment is None:
        return ""
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_wait(seconds: float) -> str:
    """How long it is until something happens: ``in 59 min``; nothing if it has happened."""
    if seconds <= 0:
        return ""
    for unit, length in (("s", 1), ("min", 60), ("h", 3600), ("d", 86400)):
        following = {"s": 60, "min": 3600, "h": 86400}.get(unit)
        if following is None or seconds < following:
            return f"in {max(seconds // length, 1):.0f} {unit}"
    raise AssertionError("the last unit takes everything")


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # of whatever
    return str(value)
