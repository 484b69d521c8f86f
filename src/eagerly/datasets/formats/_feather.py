"""Feather, which is the file format of Arrow: tables that load fastest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._arrow import TableWriter, from_table, to_table
from eagerly.datasets.formats._format import ItemWriter, Sink, check_options, reading, writing
from eagerly.datasets.formats._library import is_exactly, load_library
from eagerly.datasets.formats._table import TableFormat
from eagerly.errors import DatasetFormatError

__all__ = ["FeatherFormat"]

UNCOMPRESSED = "uncompressed"


class FeatherFormat(TableFormat):
    """A frame of pandas, polars or pyarrow, or a list of dicts with the same keys, as an Arrow file.

    Loaded as what it was saved from; without a manifest as a pandas frame if it was one, else as a ``pyarrow.Table``.
    polars works without pyarrow, all else needs it. Streams and datetimes as with parquet.

    Options:
        compression: When saving, ``"lz4"`` (unless given), ``"zstd"`` or ``"uncompressed"``.
        row_group_size, schema: For streams of dicts: how many rows make a batch, and a ``pyarrow.Schema``.
        columns: When loading, the names of those wanted.
    """

    name = "feather"
    extensions = (".feather", ".arrow")

    def write(self, value: Any, sink: Any, options: Mapping[str, Any]) -> None:
        check_options(self.name, options, ("compression",))
        compression = compression_of(options)
        if is_exactly(value, "polars.DataFrame"):
            with writing(self.name, value, sink):
                value.write_ipc(sink, compression=compression)
            return
        table = to_table(value, self.name)
        with writing(self.name, value, sink), self._open(sink, table.schema, compression) as target:
            target.write_table(table)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ("columns",))
        wanted = self.wanted(return_type)
        if wanted == "polars.DataFrame":
            polars = load_library("polars", "a polars.DataFrame")
            with reading(self.name):
                return polars.read_ipc(file, **options)
        ipc = load_library("pyarrow.ipc", "the feather format", extra="feather")
        with reading(self.name):
            table = ipc.open_file(file).read_all()
            if options.get("columns") is not None:
                table = table.select(options["columns"])
            return from_table(table, wanted)

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:
        check_options(self.name, options, ("compression", "row_group_size", "schema"))
        compression = compression_of(options)
        sink = Sink(file)

        def open_file(schema: Any) -> Any:
            return self._open(sink, schema, compression)

        return TableWriter(sink, open_file, lambda frame: self.check_types(frame, {}), self.name, options)

    def _open(self, sink: Any, schema: Any, compression: str) -> Any:
        ipc = load_library("pyarrow.ipc", "the feather format", extra="feather")
        options = ipc.IpcWriteOptions(compression=None if compression == UNCOMPRESSED else compression)
        return ipc.new_file(sink, schema, options=options)


def compression_of(options: Mapping[str, Any]) -> str:
    compression: object = options.get("compression", "lz4")
    if compression not in ("lz4", "zstd", UNCOMPRESSED):
        raise DatasetFormatError(
            f"feather has no compression {compression!r}; there are 'lz4', 'zstd', {UNCOMPRESSED!r}"
        )
    return str(compression)
