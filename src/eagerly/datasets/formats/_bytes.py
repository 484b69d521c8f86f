"""Bytes, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, ItemWriter, check_options, reading
from eagerly.datasets.formats._library import describe
from eagerly.errors import DatasetFormatError

__all__ = ["BytesFormat"]


class BytesFormat(Format):
    """The bytes themselves. A stream's items are written one behind the other. No options."""

    name = "bytes"
    extensions = (".bin",)
    takes = "bytes or a bytearray"
    items = True
    types = ("bytes", "bytearray")

    def fits(self, value: Any, /) -> bool:
        return type(value) in (bytes, bytearray)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ())
        self.require_fit(value)
        file.write(value)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        wanted = self.wanted(return_type)
        with reading(self.name):
            data = file.read()
        return bytearray(data) if wanted == "bytearray" else data

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:
        check_options(self.name, options, ())
        return Chunks(file)


class Chunks:
    """Writes each chunk as it comes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, item: Any, /) -> None:
        if type(item) not in (bytes, bytearray, memoryview):
            raise DatasetFormatError(f"a stream that is saved as bytes has bytes for items, not {describe(item)}")
        self._file.write(item)

    def close(self) -> None:
        pass
