"""Tables: what becomes an Arrow table without a change, and what an Arrow table is given back as.

Parquet and feather share this. What would come back as something else is refused before anything is written.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from eagerly.datasets.formats._format import Sink, writing
from eagerly.datasets.formats._library import class_named, describe, exact_type, is_exactly, load_library, type_name
from eagerly.datasets.formats._models import difference
from eagerly.datasets.formats._rows import RowTables, rows_of
from eagerly.errors import DatasetFormatError

__all__ = ["FRAMES", "TableWriter", "from_table", "is_frame", "is_rows", "to_table"]

FRAMES = ("pandas.DataFrame", "polars.DataFrame", "pyarrow.Table")

ROWS_PER_GROUP = 10_000

NESTED = (list, dict)

PLAIN_CELLS = {type(None), str, bytes, bool, datetime.date}
"""What comes back as it is if it comes back with its type."""


def is_frame(value: Any) -> bool:
    return is_exactly(value, *FRAMES)


def is_rows(value: Any) -> bool:
    """Whether `value` is a list of dicts."""
    return exact_type(value) is list and all(exact_type(row) is dict for row in value)


def to_table(value: Any, format_name: str) -> Any:
    """The Arrow table of a frame or of a list of dicts.

    Raises:
        DatasetFormatError: It would come back as something else.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = load_library("pyarrow", f"the {format_name} format", extra=format_name)
    with writing(format_name, value):
        if exact_type(value) is list:
            return RowTables(pyarrow, format_name).table(value)
        if is_exactly(value, "pyarrow.Table"):
            return value
        if is_exactly(value, "polars.DataFrame"):
            return value.to_arrow()
        check_cells(pyarrow, value, format_name)
        return pyarrow.Table.from_pandas(value)


def from_table(table: Any, wanted: str | None) -> Any:
    """What was asked for; where nothing was, a pandas frame if it was one, else the table."""
    if wanted is None and b"pandas" in (table.schema.metadata or {}) and can_import_pandas():
        wanted = "pandas.DataFrame"
    if wanted == "pandas.DataFrame":
        load_library("pandas", "a pandas.DataFrame")
        return table.to_pandas()
    if wanted == "polars.DataFrame":
        return load_library("polars", "a polars.DataFrame").from_arrow(table)
    return rows_of(table) if wanted == "list" else table


def can_import_pandas() -> bool:
    import importlib.util
    import sys

    return class_named("pandas.DataFrame") is not None or (
        "pandas" not in sys.modules and importlib.util.find_spec("pandas") is not None
    )


def check_cells(pyarrow: Any, frame: Any, format_name: str) -> None:
    """Refuse columns of Python objects that come back as other objects, such as lists, which become arrays."""
    if not frame.columns.is_unique:
        raise DatasetFormatError(f"{format_name} has one column of each name; rename {duplicates(frame.columns)}")
    for place, column in object_columns(frame):
        table = pyarrow.Table.from_pandas(column.to_frame(), preserve_index=False)
        if format_name == "parquet" and pyarrow.types.is_nested(table.schema.types[0]):
            table = through_parquet(pyarrow, table)
        back = table.to_pandas().iloc[:, 0]
        cells, cells_back = filled(column), filled(back)
        kinds, kinds_back = set(map(type, cells)), set(map(type, cells_back))
        if str(back.dtype) != "object" or kinds != kinds_back:
            became = names_of(kinds_back) if kinds_back != kinds else f"dtype {back.dtype}"
            raise DatasetFormatError(
                f"{place} holds {names_of(kinds)} and would come back as {became}; "
                "give it a dtype of its own, for example .convert_dtypes(), or write format='pickle'"
            )
        if not kinds <= PLAIN_CELLS and (path := difference(cells, cells_back, "")):
            raise DatasetFormatError(
                f"{place} would be changed by {format_name} at {path}; write format='pickle' to keep it as it is"
            )


def through_parquet(pyarrow: Any, table: Any) -> Any:
    """The table as parquet gives it back: what is None in a dict there makes floats of the ints of its column."""
    parquet = load_library("pyarrow.parquet", "the parquet format")
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    return parquet.read_table(pyarrow.BufferReader(sink.getvalue()))


def object_columns(frame: Any) -> Iterator[tuple[str, Any]]:
    """The columns of Python objects, and the levels of the index that are."""
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if str(dtype) == "object":
            yield f"column {name!r}", frame[name]
    for number, dtype in enumerate(getattr(frame.index, "dtypes", [frame.index.dtype])):
        if str(dtype) == "object":
            yield f"level {number} of the index", frame.index.get_level_values(number).to_series()


def filled(column: Any) -> list[Any]:
    """The cells of a column, with None for all that count as missing."""
    return [None if missing else cell for cell, missing in zip(column, column.isna(), strict=True)]


def names_of(kinds: set[type]) -> str:
    return ", ".join(sorted(type_name(kind) for kind in kinds - {type(None)}))


def duplicates(names: Any) -> str:
    found = list(names)
    return ", ".join(sorted({repr(name) for name in found if found.count(name) > 1}))


class TableWriter:
    """Writes the items of a stream in groups: dicts are collected to groups of rows, a frame is a group of its own."""

    def __init__(
        self,
        sink: Sink,
        open_file: Callable[[Any], Any],
        check_frame: Callable[[Any], None],
        format_name: str,
        options: Mapping[str, Any],
    ) -> None:
        """`open_file` takes a schema and gives what has ``write_table`` and ``close``; `check_frame` sees the first."""
        self._sink = sink
        self._pyarrow = load_library("pyarrow", f"the {format_name} format", extra=format_name)
        self._open_file = open_file
        self._check_frame = check_frame
        self._format_name = format_name
        self._schema: Any = options.get("schema")
        self._rows_per_group: int = options.get("row_group_size", ROWS_PER_GROUP)
        self._row_tables: RowTables | None = None
        self._rows: list[Any] = []
        self._file: Any = None
        self._kind: type | None = None
        self._closed = False

    def write(self, item: Any, /) -> None:
        if exact_type(item) is not dict and not is_frame(item):
            raise DatasetFormatError(
                f"{self._format_name} takes dicts or frames for the items of a stream, not {describe(item)}"
            )
        kind = exact_type(item)
        if self._kind not in (None, kind):
            raise DatasetFormatError(f"this stream had {type_name(self._kind)} for items, and has {describe(item)} now")
        self._kind = kind
        if kind is dict:
            # Bodies that reuse one dict for all items must not change those that wait here.
            self._rows.append(
                {name: deepcopy(cell) if exact_type(cell) in NESTED else cell for name, cell in item.items()}
            )
            if len(self._rows) >= self._rows_per_group:
                self._flush()
        else:
            self._write_table(self._frame(item))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._rows or self._kind is None:
            self._flush()
        with writing(self._format_name, self._rows, self._sink):
            self._file.close()

    def __del__(self) -> None:
        # pyarrow completes a file when its writer is thrown away, but an abandoned stream's file is closed by then.
        self._sink.drop()

    def _flush(self) -> None:
        if self._row_tables is None:
            self._row_tables = RowTables(self._pyarrow, self._format_name, self._schema)
        rows, self._rows = self._rows, []
        with writing(self._format_name, rows):
            table = self._row_tables.table(rows)
        self._write_table(table)

    def _frame(self, frame: Any) -> Any:
        if self._file is None:
            self._check_frame(frame)
        if not is_exactly(frame, "pandas.DataFrame"):
            return to_table(frame, self._format_name)
        rows_alone = not frame.shape[1] and len(frame)
        if not is_exactly(frame.index, "pandas.RangeIndex") or frame.index.name is not None or rows_alone:
            raise DatasetFormatError(
                f"a stream of frames has no index when it is saved as {self._format_name}; write frame.reset_index()"
            )
        with writing(self._format_name, frame):
            check_cells(self._pyarrow, frame, self._format_name)
            return self._pyarrow.Table.from_pandas(frame, preserve_index=False)

    def _write_table(self, table: Any) -> None:
        with writing(self._format_name, table, self._sink):
            if self._file is None:
                self._schema = self._schema if self._schema is not None else table.schema
                self._file = self._open_file(self._schema)
            if not table.schema.equals(self._schema):
                raise DatasetFormatError(
                    "the items of a stream have the same columns and types; found "
                    f"({one_line(table.schema)}) after ({one_line(self._schema)})"
                )
            self._file.write_table(table.cast(self._schema))


def one_line(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
