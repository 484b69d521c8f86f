"""What parquet and feather have in common: which values they take, and that columns keep their types."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._arrow import is_frame, is_rows
from eagerly.datasets.formats._format import Format, Sink
from eagerly.datasets.formats._library import exact_type, is_exactly, type_name
from eagerly.errors import DatasetError, DatasetFormatError

__all__ = ["TableFormat"]


class TableFormat(Format):
    """A format for frames of pandas, polars or pyarrow, and for lists of dicts."""

    takes = "a pandas or polars DataFrame, a pyarrow.Table, or a list of dicts with the same keys"
    items = True
    libraries = ("pyarrow", "pandas", "polars")
    types = ("pyarrow.Table", "pandas.DataFrame", "polars.DataFrame", "list")

    def fits(self, value: Any, /) -> bool:
        return is_frame(value) or is_rows(value)

    def fits_item(self, item: Any, /) -> bool:
        return is_frame(item) or exact_type(item) is dict

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        self.require_fit(value)
        if is_frame(value):
            self.check_types(value, options)
        self.write(value, Sink(file), options)

    def write(self, value: Any, sink: Any, options: Mapping[str, Any]) -> None:
        """Write a value that fits."""
        raise NotImplementedError

    def check_types(self, frame: Any, options: Mapping[str, Any]) -> None:
        """Save and load the frame without its rows, which takes a moment, to see whether a column changes.

        Raises:
            DatasetFormatError: The type of one does, or its name.
        """
        empty = without_rows(frame)
        file = io.BytesIO()
        self.write(empty, file, options)
        file.seek(0)
        try:
            back = self.load(file, exact_type(frame), {})
        except DatasetError as error:
            raise DatasetFormatError(
                f"{self.name} would write this {type_name(exact_type(frame))}, and could not load it: "
                f"{error.__cause__}; rename its columns to text, or write format='pickle'"
            ) from error
        if back.shape[0] != empty.shape[0]:
            raise DatasetFormatError(
                f"{self.name} holds no rows without columns, and this frame has {empty.shape[0]}; write "
                "frame.reset_index(), or format='pickle'"
            )
        for (name, dtype), (other_name, became) in zip(column_types(empty), column_types(back), strict=True):
            if name != other_name:
                raise DatasetFormatError(
                    f"{name} would come back from {self.name} as {other_name}; rename it, or write format='pickle'"
                )
            if dtype != became and str(became) != "category":  # those without rows lose their categories
                other = "feather" if self.name == "parquet" else "pickle"
                raise DatasetFormatError(
                    f"{name} is {dtype}, and {self.name} would give it back as {became}; convert it beforehand, or "
                    f"write format={other!r}"
                )


def without_rows(frame: Any) -> Any:
    """The frame without rows, unless rows are all that it has."""
    if not frame.shape[1]:
        return frame
    if is_exactly(frame, "pandas.DataFrame"):
        return frame.iloc[:0]
    return frame.clear() if is_exactly(frame, "polars.DataFrame") else frame.slice(0, 0)


def column_types(frame: Any) -> list[tuple[str, Any]]:
    """What each column, and each level of a pandas index, is called and its type."""
    if is_exactly(frame, "pyarrow.Table"):
        return [(f"column {field.name!r}", field.type) for field in frame.schema]
    if is_exactly(frame, "polars.DataFrame"):
        return [(f"column {name!r}", dtype) for name, dtype in frame.schema.items()]
    columns = [(f"column {name!r}", dtype) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]
    levels = [frame.index.get_level_values(level).dtype for level in range(frame.index.nlevels)]
    names = ["" if name is None else f" ({name!r})" for name in frame.index.names]
    places = [f"level {level} of the index{name}" for level, name in enumerate(names)]
    return [*columns, *zip(places, levels, strict=True)]
