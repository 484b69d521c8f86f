"""What to show of a value: short, soon had, and without running code of the user's. Each recorded call asks twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

__all__ = ["inputs_summary", "summary"]

ROOM: Final = 200
"""Characters that are shown of one value."""

_MOST: Final = 1000  # of all arguments
_ITEMS: Final = 8  # of one container
_DEPTH: Final = 3
_BITS: Final = 600  # of an integer that is written out

_PLAIN: Final = frozenset({float, bool, complex, type(None)})
_TELLING: Final = frozenset({"datetime", "decimal", "fractions", "pathlib", "pathlib._local", "uuid"})
"""Modules of the standard library whose values are short in words."""
_SHAPED: Final = frozenset({"numpy", "pandas", "polars", "torch"})
_BRACKETS: Final[dict[type[Any], tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def inputs_summary(inputs: Mapping[str, Any]) -> str:
    """What to show of arguments, as they are now."""
    parts = [f"{name}={_shown(value, ROOM, 0)}" for name, value in inputs.items()]
    text = ", ".join(parts)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def summary(value: object) -> str:
    """What to show of a value, as it is now: its type, where that is none of Python's own."""
    return _shown(value, _MOST, 0)


def _shown(value: Any, room: int, depth: int) -> str:
    cls: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]  # of any type
    if cls is int:
        return repr(value) if -1_000_000_000 < value < 1_000_000_000 or value.bit_length() <= _BITS else "<int>"
    if cls is str or cls is bytes:
        return repr(value) if len(value) < room - 2 else _cut(repr(value[:room]), room)
    if cls in _PLAIN:
        return repr(value)
    if cls in _BRACKETS:
        return _cut(_contents(value, cls, room, depth), room)
    module = cls.__module__
    if module in _TELLING:
        return _cut(repr(value), room)
    if module.partition(".")[0] in _SHAPED:
        return f"<{module}.{cls.__qualname__}{_shape(value)}>"
    return f"<{cls.__qualname__}>" if module == "builtins" else f"<{module}.{cls.__qualname__}>"


def _contents(value: Any, cls: type[Any], room: int, depth: int) -> str:
    opening, closing = _BRACKETS[cls]
    count = len(value)
    if not count:
        return repr(cls())
    if depth == _DEPTH:
        return f"{opening}...{closing}"
    items: Iterable[Any] = islice(value.items() if cls is dict else value, _ITEMS)
    if cls is dict:
        parts = [f"{_shown(key, room, depth + 1)}: {_shown(item, room, depth + 1)}" for key, item in items]
    else:
        parts = [_shown(item, room, depth + 1) for item in items]
    if count > _ITEMS:
        parts.append(f"... {count:,} in all")
    elif cls is tuple and count == 1:
        parts.append("")
    return f"{opening}{', '.join(parts).rstrip() if count == 1 else ', '.join(parts)}{closing}"


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f" {tuple(shape)}" if isinstance(shape, tuple) else ""  # pyright: ignore[reportUnknownArgumentType]  # of whatever


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 3]}..."
