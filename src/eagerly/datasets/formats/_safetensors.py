"""Several NumPy arrays by name, in the format in which model weights are shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, check_options, reading, writing
from eagerly.datasets.formats._library import load_library
from eagerly.datasets.formats._npy import holds_arrays
from eagerly.errors import DatasetFormatError

__all__ = ["SafetensorsFormat"]


class SafetensorsFormat(Format):
    """A dict of arrays of numbers or bools, which cannot carry code. Held in memory once more while it is saved.

    Options:
        metadata: When saving, a dict of text by text for the head of the file.
    """

    name = "safetensors"
    extensions = (".safetensors",)
    takes = "a dict of numpy.ndarray by name"
    libraries = ("safetensors", "numpy")
    types = ("dict",)

    def fits(self, value: Any, /) -> bool:
        return holds_arrays(value)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ("metadata",))
        self.require_fit(value)
        library = load_library("safetensors.numpy", "the safetensors format")
        for name, array in value.items():
            if type(name) is not str:
                raise DatasetFormatError(f"an array in safetensors is named by text, not {name!r}")
            if not array.dtype.isnative:
                raise DatasetFormatError(
                    f"safetensors has one byte order, and {name!r} another: {array.dtype}; write "
                    "array.astype(array.dtype.newbyteorder('='))"
                )
        with writing(self.name, value):
            # The library writes the memory of an array as it lies, whatever its strides say.
            arrays = {name: array.copy(order="C") for name, array in value.items()}
            data = library.save(arrays, metadata=options.get("metadata"))
        file.write(data)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        self.wanted(return_type)
        library = load_library("safetensors.numpy", "the safetensors format")
        with reading(self.name):
            return library.load(file.read())
