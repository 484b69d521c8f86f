"""Several NumPy arrays by name, in a zip file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, Sink, check_options, reading, writing
from eagerly.datasets.formats._library import load_library
from eagerly.datasets.formats._npy import holds_arrays, read_array, write_array
from eagerly.errors import DatasetError, DatasetFormatError

__all__ = ["NpzFormat"]

SUFFIX = ".npy"


class NpzFormat(Format):
    """A dict of arrays, as ``numpy.load`` reads it. Arrays of objects are refused.

    Options:
        compressed: When saving, True deflates the arrays.
    """

    name = "npz"
    extensions = (".npz",)
    takes = "a dict of numpy.ndarray by name"
    libraries = ("numpy",)
    types = ("dict",)

    def fits(self, value: Any, /) -> bool:
        return holds_arrays(value)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        import zipfile

        check_options(self.name, options, ("compressed",))
        self.require_fit(value)
        compression = zipfile.ZIP_DEFLATED if options.get("compressed", False) else zipfile.ZIP_STORED
        # numpy.savez cannot hold an array named "file", so its zip file is written here.
        with writing(self.name, value), zipfile.ZipFile(Sink(file), "w", compression, allowZip64=True) as archive:
            for name, array in value.items():
                with archive.open(member_name(name), "w", force_zip64=True) as member:
                    write_array(array, member, self.name)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        import zipfile

        check_options(self.name, options, ())
        self.wanted(return_type)
        load_library("numpy", "the npz format")
        arrays: dict[str, Any] = {}
        with reading(self.name), zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if not name.endswith(SUFFIX):
                    raise DatasetError(f"this cannot be read as npz: {name!r} in it is no array")
                # numpy.load takes the name "a.npy" for the array "a", so the members are read one by one here.
                with archive.open(name) as member:
                    arrays[name.removesuffix(SUFFIX)] = read_array(member)
        return arrays


def member_name(name: Any) -> str:
    if type(name) is not str or "\0" in name:
        raise DatasetFormatError(f"an array in an npz is named by text without NUL, not {name!r}")
    return name + SUFFIX
