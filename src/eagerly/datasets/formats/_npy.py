"""One NumPy array, with its dtype, shape and order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, Sink, check_options, reading, writing
from eagerly.datasets.formats._library import exact_type, is_exactly, load_library
from eagerly.errors import DatasetFormatError

__all__ = ["NpyFormat", "holds_arrays", "read_array", "write_array"]


class NpyFormat(Format):
    """NumPy's own format. Pickles inside are neither written nor read, so arrays of objects are refused. No options.

    Structs keep the place of each field. That a dtype was made with ``align=True`` is not kept, as it says no more.
    """

    name = "npy"
    extensions = (".npy",)
    takes = "a numpy.ndarray that holds no objects"
    libraries = ("numpy",)
    types = ("numpy.ndarray",)

    def fits(self, value: Any, /) -> bool:
        return is_exactly(value, "numpy.ndarray", "numpy.memmap")

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ())
        self.require_fit(value)
        write_array(value, Sink(file), self.name)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        self.wanted(return_type)
        load_library("numpy", "the npy format")
        with reading(self.name):
            return read_array(file)


def holds_arrays(value: Any) -> bool:
    """Whether `value` is a dict of arrays, with at least one."""
    if exact_type(value) is not dict or not value:
        return False
    return all(is_exactly(each, "numpy.ndarray") for each in value.values())


def write_array(array: Any, file: Any, format_name: str) -> None:
    """Write one array as npy.

    Raises:
        DatasetFormatError: It holds objects, or a dtype that only a pickle can hold.
    """
    if array.dtype.hasobject:
        raise DatasetFormatError(
            f"{format_name} cannot hold an array of dtype {array.dtype}: objects would have to be pickled. Convert it, "
            "for example with .astype(str) or .astype(float); save mixed rows as parquet; or write format='pickle'"
        )
    with writing(format_name, array):
        load_library("numpy.lib.format", f"the {format_name} format").write_array(file, array, allow_pickle=False)


def read_array(file: Any) -> Any:
    """Read one array as npy, without ever unpickling."""
    return load_library("numpy.lib.format", "the npy format").read_array(file, allow_pickle=False)
