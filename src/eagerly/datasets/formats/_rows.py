"""Lists of dicts as Arrow tables: every row has the same columns, and every column one type that comes back."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

from eagerly.datasets.formats._library import describe, exact_type, type_name
from eagerly.datasets.formats._models import difference
from eagerly.errors import DatasetFormatError

__all__ = ["RowTables", "rows_of"]

CELLS = (bool, int, float, str, bytes, datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
CELLS_TO_COMPARE = (list, dict, decimal.Decimal)
WAYS_OUT = {
    datetime.datetime: "datetimes have no fold there, and a column of them one time zone or none; write "
    ".astimezone(datetime.timezone.utc)",
    datetime.time: "times have no zone and no fold there; write datetimes",
}
ZONES = {None: None, "UTC": datetime.UTC}
"""Time zones of columns, and those of cells that surely come back."""


def rows_of(table: Any) -> list[Any]:
    """The rows of an Arrow table, with its UTC as ``datetime.timezone.utc``: pyarrow has it as some other class."""
    rows: list[Any] = table.to_pylist()
    for field in table.schema:
        if has_utc(field.type):
            for row in rows:
                row[field.name] = with_plain_utc(row[field.name])
    return rows


def cells_of(column: Any) -> list[Any]:
    """The cells of an Arrow array, as `rows_of` gives them."""
    cells: list[Any] = column.to_pylist()
    return [with_plain_utc(cell) for cell in cells] if has_utc(column.type) else cells


def has_utc(kind: Any) -> bool:
    return "tz=UTC" in str(kind)


def with_plain_utc(node: Any) -> Any:
    kind = exact_type(node)
    if kind is list:
        return [with_plain_utc(each) for each in node]
    if kind is dict:
        return {name: with_plain_utc(each) for name, each in node.items()}
    return node.replace(tzinfo=datetime.UTC) if kind is datetime.datetime and str(node.tzinfo) == "UTC" else node


class RowTables:
    """Makes Arrow tables of lists of dicts, all with the same columns and types."""

    def __init__(self, pyarrow: Any, format_name: str, schema: Any = None) -> None:
        self._pyarrow = pyarrow
        self._format_name = format_name
        self._given = schema is not None
        self._schema = schema
        self._kinds: dict[str, type] = {}
        self._rows_before = 0

    def table(self, rows: list[Any]) -> Any:
        """The next table.

        Raises:
            DatasetFormatError: A row does not fit those before it, or a cell would be changed.
        """
        names: list[str] = self._schema.names if self._schema is not None else list(rows[0]) if rows else []
        if rows and not names:
            raise DatasetFormatError(f"a row of {self._format_name} has at least one cell; this one is {rows[0]!r}")
        for index, row in enumerate(rows, start=self._rows_before):
            self._check_row(index, row, names)
        columns = {name: self._column(name, [row[name] for row in rows]) for name in names}
        table = self._pyarrow.table(columns, schema=self._schema)
        self._schema = table.schema
        self._rows_before += len(rows)
        return table

    def _check_row(self, index: int, row: Any, names: list[str]) -> None:
        if exact_type(row) is not dict:
            raise DatasetFormatError(f"row {index} is {describe(row)}, where the others are dicts")
        if list(row) == names or row.keys() == set(names):
            if not all(type(name) is str for name in names):
                raise DatasetFormatError(f"the columns of a row have names that are text, not {names!r}")
            return
        missing = [name for name in names if name not in row]
        found = f"has no {missing[0]!r}" if missing else f"has {next(n for n in row if n not in names)!r} too"
        raise DatasetFormatError(
            f"row {index} {found}; {self._format_name} has the same columns in all rows, here {', '.join(names)}. "
            "Write None where there is nothing, or save as jsonl"
        )

    def _column(self, name: str, cells: list[Any]) -> Any:
        kinds: set[Any] = {exact_type(cell) for cell in cells} - {type(None)}
        if name in self._kinds:
            kinds.add(self._kinds[name])
        if len(kinds) > 1 and not self._given:
            mixed = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise DatasetFormatError(
                f"column {name!r} mixes {mixed}; a column has one type. Save as jsonl to keep them"
            )
        for kind in kinds:
            if kind not in CELLS and kind not in CELLS_TO_COMPARE:
                raise DatasetFormatError(
                    f"column {name!r} holds {type_name(kind)}, which {self._format_name} would change; it holds None, "
                    f"{', '.join(each.__name__ for each in (*CELLS, *CELLS_TO_COMPARE))}"
                )
        given = self._schema.field(name).type if self._schema is not None else None
        if given is not None and self._pyarrow.types.is_null(given) and kinds:
            raise DatasetFormatError(
                f"column {name!r} was None in the first {self._rows_before} rows, and is {next(iter(kinds)).__name__} "
                "now; say the types beforehand: options={'schema': pyarrow.schema(...)}"
            )
        try:
            column = self._pyarrow.array(cells, type=given)
        except Exception as error:
            raise DatasetFormatError(f"column {name!r} does not fit {self._format_name}: {error}") from error
        if not self._given and needs_look(kinds, column.type, cells):
            self._compare(name, cells, cells_of(column), kinds)
        if kinds and not self._given:
            self._kinds[name] = next(iter(kinds))
        return column

    def _compare(self, name: str, cells: list[Any], back: list[Any], kinds: set[Any]) -> None:
        if path := difference(cells, back, ""):
            way_out = next((WAYS_OUT[kind] for kind in WAYS_OUT if kind in kinds), "save as jsonl to keep it as it is")
            raise DatasetFormatError(f"column {name!r} would be changed by {self._format_name} at {path}; {way_out}")


def needs_look(kinds: set[Any], arrow_type: Any, cells: list[Any]) -> bool:
    """Whether cells may come back as others, so that all of them have to be compared."""
    if not kinds & WAYS_OUT.keys():
        return bool(kinds & {*CELLS_TO_COMPARE})
    zone = getattr(arrow_type, "tz", None)
    if zone not in ZONES:
        return True
    return not all(cell is None or (cell.tzinfo is ZONES[zone] and not cell.fold) for cell in cells)
