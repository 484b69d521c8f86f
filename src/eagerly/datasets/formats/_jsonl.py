"""JSON lines: one value per line, so that a stream can be written as it comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, get_args

from eagerly.datasets.formats._format import Format, ItemWriter, check_options, reading
from eagerly.datasets.formats._json import PLAIN_TYPES, SAVE_OPTIONS, as_type, encode_json
from eagerly.datasets.formats._library import exact_type
from eagerly.datasets.formats._models import is_model
from eagerly.errors import DatasetError

__all__ = ["JsonLinesFormat"]


class JsonLinesFormat(Format):
    """A list of JSON values, or the items of a stream, one per line. What holds for json holds for each of them.

    Options: those of json, without ``indent``.
    """

    name = "jsonl"
    extensions = (".jsonl", ".ndjson")
    takes = "a list of what json takes"
    items = True
    types = ("list",)

    def fits(self, value: Any, /) -> bool:
        return exact_type(value) is list

    def fits_item(self, item: Any, /) -> bool:
        return exact_type(item) in PLAIN_TYPES or exact_type(item) in (list, dict) or is_model(item)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        self.require_fit(value)
        writer = self.writer(file, options)
        for item in value:
            writer.write(item)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        self.wanted(return_type)
        item_type = next(iter(get_args(return_type)), None)
        items: list[Any] = []
        with reading(self.name):
            for number, line in enumerate(file, start=1):
                try:
                    item = json.loads(line.decode())
                except ValueError as error:
                    raise DatasetError(f"this cannot be read as jsonl: line {number}: {error}") from error
                items.append(as_type(item, item_type, self.name))
        return items

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:
        check_options(self.name, options, SAVE_OPTIONS)
        return JsonLines(file, options)


class JsonLines:
    """Writes each item as a line."""

    def __init__(self, file: BinaryIO, options: Mapping[str, Any]) -> None:
        self._file = file
        self._options = options

    def write(self, item: Any, /) -> None:
        self._file.write(encode_json(item, self._options) + b"\n")

    def close(self) -> None:
        pass
