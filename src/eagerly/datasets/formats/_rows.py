"""Lists of dicts as Arrow tables: every row has the same columns, and every column one type that comes back."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

from eagerly.datasets.formats._library import describe, exact_type, type_name
from eagerly.datasets.formats._models import difference
from eagerly.errors import DatasetFormatError

__all__ = ["RowTables"]

CELLS = (bool, int, float, str, bytes, datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
CELLS_TO_COMPARE = (list, dict, decimal.Decimal)


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
        if not self._given and kinds & {*CELLS_TO_COMPARE} and (path := difference(cells, column.to_pylist(), "")):
            raise DatasetFormatError(
                f"column {name!r} would be changed by {self._format_name} at {path}; save as jsonl to keep it as it is"
            )
        if kinds and not self._given:
            self._kinds[name] = next(iter(kinds))
        return column
