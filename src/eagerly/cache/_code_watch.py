"""`Watch`: what was read by name when code was looked at, so that the next call can tell whether to look again.

Only identities are compared, as this is done before each key. What is changed inside an object is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import CellType
from typing import Any, Final, TypeAlias

__all__ = ["ABSENT", "EMPTY", "NEVER_LOOKED", "Name", "Watch", "contents_of"]

Name: TypeAlias = tuple[Mapping[str, Any], str, Any]
"""A namespace, a name in it, and what it stood for; `ABSENT` if for nothing."""

ABSENT: Final = object()
EMPTY: Final = object()
"""What `contents_of` returns for the cell of a variable that has no value."""


class Watch:
    """Names and cells with what they stood for.

    Args:
        names: Names of modules, classes and functions.
        cells: Variables of enclosing functions, each with what it held.
    """

    __slots__ = ("_absent", "_cells", "_empty", "_names")

    def __init__(self, names: Iterable[Name] = (), cells: Iterable[tuple[CellType, Any]] = ()) -> None:
        names, cells = list(names), list(cells)
        self._names = tuple(each for each in names if each[2] is not ABSENT)
        self._absent = tuple((namespace, name) for namespace, name, seen in names if seen is ABSENT)
        self._cells = tuple(each for each in cells if each[1] is not EMPTY)
        self._empty = tuple(cell for cell, seen in cells if seen is EMPTY)

    def __bool__(self) -> bool:
        return bool(self._names or self._absent or self._cells or self._empty)

    def with_cells_of(self, other: Watch) -> Watch:
        """Both: these names and cells, and those cells."""
        if not (other._cells or other._empty):
            return self
        both = Watch()
        both._names, both._absent = self._names, self._absent
        both._cells, both._empty = self._cells + other._cells, self._empty + other._empty
        return both

    def changed(self) -> bool:
        """Whether any of it stands for something else now."""
        try:
            for namespace, name, seen in self._names:
                if namespace[name] is not seen:
                    return True
            for cell, seen in self._cells:
                if cell.cell_contents is not seen:
                    return True
        except (KeyError, ValueError):  # it is gone
            return True
        for namespace, name in self._absent:
            if name in namespace:
                return True
        return bool(self._empty) and any(contents_of(cell) is not EMPTY for cell in self._empty)


class _NeverLooked(Watch):
    __slots__ = ()

    def changed(self) -> bool:
        return True


NEVER_LOOKED: Final[Watch] = _NeverLooked()
NOT_WATCHED: Final = Watch()
"""What stands for nothing, and so never changes."""


def contents_of(cell: CellType) -> Any:
    """What the variable holds, or `EMPTY`."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY
