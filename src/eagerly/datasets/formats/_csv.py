"""CSV: text in rows and columns. It knows no types, so what is loaded as a list is text throughout."""

from __future__ import annotations

import csv
import datetime
import io
import numbers
from collections.abc import Mapping
from typing import Any, BinaryIO, get_args

from eagerly.datasets.formats._arrow import FRAMES
from eagerly.datasets.formats._format import (
    Format,
    ItemWriter,
    Sink,
    check_options,
    parameters,
    plain_type,
    reading,
    writing,
)
from eagerly.datasets.formats._library import describe, exact_type, is_exactly, load_library, type_name
from eagerly.datasets.formats._text import TextSink
from eagerly.errors import DatasetError, DatasetFormatError

__all__ = ["SEPARATED", "CsvFormat"]

DIALECT = ("doublequote", "escapechar", "lineterminator", "quotechar", "quoting")
LIST_OPTIONS = ("delimiter", "encoding", *DIALECT)

OF_ROWS = ("list[list]", "list[tuple]", "Iterator[list]", "Iterator[tuple]")
"""What manifests say of rows without a line of names before them."""

DELIMITER = {"pandas": "sep", "polars": "separator"}
"""What the libraries call our option ``delimiter``."""


class CsvFormat(Format):
    """A frame of pandas, polars or pyarrow, a list of dicts with the same keys, or a list of rows of the same length.

    Dicts get a line with their keys first. Loaded as a list of dicts of text, or as ``list[list[str]]`` if that is
    asked for or was saved; as a frame, its library guesses the types from the text, so that for example ``007``
    becomes 7. Parquet keeps types. Cells are text, numbers, dates and None, which becomes an empty text. A pandas index
    other than the plain one is refused unless ``index`` says what is to become of it.

    Options:
        delimiter: Between cells, ``","`` unless given (tsv: a tab).
        encoding: ``"utf-8"`` unless given; for lists and pandas.
        doublequote, escapechar, lineterminator, quotechar, quoting: For lists, as in the csv module.
        Others: for pandas those of ``to_csv`` and ``read_csv``, for polars of ``write_csv`` and ``read_csv``.
    """

    takes = "a pandas or polars DataFrame, a pyarrow.Table, or a list of dicts with the same keys or of rows of cells"
    items = True
    libraries = ("pandas", "polars", "pyarrow")
    types = ("list", *FRAMES)
    kept_options = ("delimiter", "encoding", *DIALECT)

    def __init__(self, name: str, extensions: tuple[str, ...], delimiter: str) -> None:
        self.name = name
        self.extensions = extensions
        self._delimiter = delimiter

    def fits(self, value: Any, /) -> bool:
        if is_exactly(value, *FRAMES):
            return True
        return exact_type(value) is list and all(exact_type(row) in (dict, list, tuple) for row in value)

    def fits_item(self, item: Any, /) -> bool:
        return exact_type(item) in (dict, list, tuple)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        self.require_fit(value)
        if exact_type(value) is list:
            writer = self.writer(file, options)
            for row in value:
                writer.write(row)
            writer.close()
        elif is_exactly(value, "pandas.DataFrame"):
            self._save_pandas(value, file, options)
        elif is_exactly(value, "polars.DataFrame"):
            given = self._for_library(options, "polars", parameters(value.write_csv, "file"))
            sink = Sink(file)
            with writing(self.name, value, sink):
                value.write_csv(sink, **given)
        else:
            check_options(self.name, options, ("delimiter",))
            library = load_library("pyarrow.csv", f"a pyarrow.Table as {self.name}")
            sink = Sink(file)
            with writing(self.name, value, sink):
                library.write_csv(value, sink, library.WriteOptions(delimiter=self._delimiter_of(options)))

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        wanted = self.wanted(return_type)
        if wanted == "pandas.DataFrame":
            library = load_library("pandas", "a pandas.DataFrame")
            given = self._for_library(options, "pandas", parameters(library.read_csv, "filepath_or_buffer"))
            if "engine" not in given and not reads_exactly(library):
                given.setdefault("float_precision", "round_trip")
            with reading(self.name):
                return library.read_csv(file, **given)
        if wanted == "polars.DataFrame":
            library = load_library("polars", "a polars.DataFrame")
            given = self._for_library(options, "polars", parameters(library.read_csv, "source"))
            with reading(self.name):
                return library.read_csv(file, **given)
        if wanted == "pyarrow.Table":
            library = load_library("pyarrow.csv", "a pyarrow.Table")
            check_options(self.name, options, ("delimiter",))
            with reading(self.name):
                parsing = library.ParseOptions(delimiter=self._delimiter_of(options), newlines_in_values=True)
                return library.read_csv(file, parse_options=parsing)
        return self._load_list(file, return_type, options)

    def type_named(self, name: str) -> Any:
        return list[list[str]] if name in OF_ROWS else super().type_named(name)

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:
        check_options(self.name, options, LIST_OPTIONS)
        return Rows(TextSink(file, options.get("encoding", "utf-8"), self.name), self.name, self._dialect(options))

    def _delimiter_of(self, options: Mapping[str, Any]) -> Any:
        return options.get("delimiter", self._delimiter)

    def _dialect(self, options: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: option for name, option in options.items() if name in DIALECT}
        return {"strict": True, "delimiter": self._delimiter_of(options), **given}

    def _for_library(self, options: Mapping[str, Any], library: str, known: set[str]) -> dict[str, Any]:
        """The options under the names that a library has for them."""
        check_options(self.name, options, {*known, "delimiter"})
        given = dict(options)
        delimiter = given.pop("delimiter", self._delimiter)
        given.setdefault(DELIMITER[library], delimiter)
        return given

    def _save_pandas(self, frame: Any, file: BinaryIO, options: Mapping[str, Any]) -> None:
        known = parameters(frame.to_csv, "path_or_buf", "mode", "compression", "storage_options", "errors")
        given = self._for_library(options, "pandas", known)
        plain = is_exactly(frame.index, "pandas.RangeIndex") and frame.index.name is None
        if "index" not in given and not (plain and frame.index.start == 0 and frame.index.step == 1):
            raise DatasetFormatError(
                f"{self.name} has no index, and this frame has one of its own; write frame.reset_index(), or "
                "options={'index': False} to lose it, or options={'index': True} to make it the first column"
            )
        sink = TextSink(file, given.pop("encoding", "utf-8"), self.name)
        with writing(self.name, frame):
            frame.to_csv(sink, **{"index": False, "lineterminator": "\n", **given})
            sink.finish()

    def _load_list(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any]) -> list[Any]:
        check_options(self.name, options, LIST_OPTIONS)
        row_type = self._row_type(return_type)
        dialect = {name: option for name, option in self._dialect(options).items() if name != "lineterminator"}
        with reading(self.name):
            text = io.TextIOWrapper(file, options.get("encoding", "utf-8"), newline="")
            try:
                rows = [row for row in csv.reader(text, **dialect) if row]
            finally:
                text.detach()  # or it would close the file
        if row_type is not dict:
            return [row_type(row) for row in rows]
        if not rows:
            return []
        header = rows[0]
        if len(set(header)) < len(header):
            raise DatasetError(f"this {self.name} has a column name twice in {header}; load it as list[list[str]]")
        for number, row in enumerate(rows, start=1):
            if len(row) != len(header):
                raise DatasetError(
                    f"this cannot be read as {self.name}: row {number} has {len(row)} cells, not {len(header)}"
                )
        return [dict(zip(header, row, strict=True)) for row in rows[1:]]

    def _row_type(self, return_type: Any) -> Any:
        item_type = next(iter(get_args(return_type)), dict)
        row_type = dict if item_type is Any else plain_type(item_type)
        if row_type not in (dict, list, tuple):
            raise DatasetFormatError(
                f"{self.name} cannot be loaded as {type_name(return_type)}; its rows are dict[str, str], list[str] or "
                "tuple[str, ...]"
            )
        return row_type


def reads_exactly(pandas: Any) -> bool:
    """Whether floats are read as they were written without being asked for; then asking is deprecated."""
    major, minor = pandas.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (3, 1)


class Rows:
    """Writes rows through the csv module."""

    def __init__(self, sink: TextSink, format_name: str, dialect: dict[str, Any]) -> None:
        self._sink = sink
        with writing(format_name, dialect):
            self._writer = csv.writer(sink, **dialect)
        self._format_name = format_name
        self._header: list[Any] | None = None
        self._first: Any = None
        self._count = 0

    def write(self, item: Any, /) -> None:
        if exact_type(item) not in (dict, list, tuple):
            raise DatasetFormatError(f"a row of {self._format_name} is a dict, a list or a tuple, not {describe(item)}")
        cells = self._cells(item)
        for cell in cells:
            self._check(cell)
        with writing(self._format_name, item):
            self._writer.writerow(cells)
        self._count += 1

    def close(self) -> None:
        self._sink.finish()

    def _cells(self, row: Any) -> list[Any]:
        if self._first is None:
            self._first = row
            if not row:
                raise DatasetFormatError(f"a row of {self._format_name} has at least one cell; this one is {row!r}")
            if exact_type(row) is dict:
                self._header = list(row)
                self._write_header(self._header)
        if (exact_type(row) is dict) != (self._header is not None):
            raise DatasetFormatError(f"row {self._count} is {describe(row)}, after {describe(self._first)}")
        if self._header is None:
            if len(row) != len(self._first):
                raise DatasetFormatError(
                    f"row {self._count} has {len(row)} cells, and the first has {len(self._first)}"
                )
            return list(row)
        if row.keys() != self._first.keys():
            odd = next(iter(row.keys() ^ self._first.keys()))
            trouble = f"has {odd!r} too" if odd in row else f"has no {odd!r}"
            raise DatasetFormatError(
                f"row {self._count} {trouble}; {self._format_name} has the same columns in all rows, here "
                f"{', '.join(self._header)}. Write None where there is nothing, or save as jsonl"
            )
        return [row[name] for name in self._header]

    def _write_header(self, names: list[Any]) -> None:
        for name in names:
            if type(name) is not str:
                raise DatasetFormatError(f"the columns of {self._format_name} have names that are text, not {name!r}")
            self._check(name)
        with writing(self._format_name, names):
            self._writer.writerow(names)

    def _check(self, cell: Any) -> None:
        if cell is not None and not isinstance(cell, str | numbers.Number | datetime.date | datetime.time):
            raise DatasetFormatError(
                f"row {self._count} holds {describe(cell)}; a cell of {self._format_name} is text, a number, a date "
                "or None. Save as jsonl or parquet to keep it"
            )
        if isinstance(cell, str) and len(cell) > csv.field_size_limit():
            raise DatasetFormatError(
                f"row {self._count} has a cell of {len(cell)} characters, and the csv module reads "
                f"{csv.field_size_limit()} at most; save as jsonl or parquet, or raise csv.field_size_limit()"
            )


SEPARATED = (CsvFormat("csv", (".csv",), ","), CsvFormat("tsv", (".tsv", ".tab"), "\t"))
