"""Rows of text: columns for people, JSON for programs."""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

_NUMBER: Final = re.compile(r"[\d,.]+( [kMGT]?B)?$")

__all__ = ["format_size", "format_time", "write_json", "write_rows"]


def write_rows(rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> None:
    """Print `rows` in columns; those that look like numbers are set to the right."""
    body = [tuple(map(str, row)) for row in rows]
    table = [tuple(heads), *body] if heads and body else body
    if not table:
        return
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    numeric = [all(_NUMBER.match(row[place]) for row in body) for place in range(len(widths))]
    for row in table:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def write_json(value: Any) -> None:
    """Print `value` as JSON; times in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


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


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
