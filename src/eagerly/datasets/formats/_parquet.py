"""Parquet: tables with their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._arrow import TableWriter, from_table, to_table
from eagerly.datasets.formats._format import ItemWriter, Sink, check_options, parameters, reading, writing
from eagerly.datasets.formats._library import is_exactly, load_library
from eagerly.datasets.formats._table import TableFormat

__all__ = ["ParquetFormat"]


class ParquetFormat(TableFormat):
    """A frame of pandas, polars or pyarrow, or a list of dicts with the same keys.

    Loaded as what it was saved from; without a manifest as a pandas frame if it was one, else as a ``pyarrow.Table``.
    polars works without pyarrow, all else needs it. A stream's items are dicts, collected to row groups, or frames, of
    which each is a row group.

    In a list of dicts, datetimes of one column have one time zone, or none, and UTC is ``datetime.timezone.utc``.

    Options: when saving, those of ``pyarrow.parquet.ParquetWriter`` (for polars of ``DataFrame.write_parquet``), for
    example ``compression``, and ``row_group_size``; for a stream also ``schema``. When loading, those of
    ``pyarrow.parquet.read_table`` (``polars.read_parquet``), for example ``columns``.
    """

    name = "parquet"
    extensions = (".parquet", ".pq")

    def write(self, value: Any, sink: Any, options: Mapping[str, Any]) -> None:
        if is_exactly(value, "polars.DataFrame"):
            check_options(self.name, options, parameters(value.write_parquet, "file"))
            with writing(self.name, value, sink):
                value.write_parquet(sink, **options)
            return
        parquet = self._parquet()
        check_options(self.name, options, {*parameters(parquet.ParquetWriter, *PLACES), "row_group_size"})
        table = to_table(value, self.name)
        with writing(self.name, value, sink):
            parquet.write_table(table, sink, **options)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        wanted = self.wanted(return_type)
        if wanted == "polars.DataFrame":
            polars = load_library("polars", "a polars.DataFrame")
            check_options(self.name, options, parameters(polars.read_parquet, "source"))
            with reading(self.name):
                return polars.read_parquet(file, **options)
        parquet = self._parquet()
        check_options(self.name, options, parameters(parquet.read_table, "source", "filesystem"))
        with reading(self.name):
            return from_table(parquet.read_table(file, **options), wanted)

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:
        parquet = self._parquet()
        check_options(self.name, options, {*parameters(parquet.ParquetWriter, *PLACES), "row_group_size", "schema"})
        sink = Sink(file)
        given = {name: option for name, option in options.items() if name not in ("schema", "row_group_size")}

        def open_file(schema: Any) -> Any:
            return parquet.ParquetWriter(sink, schema, **given)

        return TableWriter(sink, open_file, lambda frame: self.check_types(frame, {}), self.name, options)

    def _parquet(self) -> Any:
        return load_library("pyarrow.parquet", "the parquet format")


PLACES = ("where", "schema", "filesystem")
"""Arguments of pyarrow that say where to write, which is not for options to say."""
