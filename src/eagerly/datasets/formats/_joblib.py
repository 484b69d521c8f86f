"""Any Python object through joblib, which stores large arrays well. Its files can run code when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, Sink, check_options, reading, writing
from eagerly.datasets.formats._library import load_library
from eagerly.datasets.formats._pickle import check_instance

__all__ = ["JoblibFormat"]


class JoblibFormat(Format):
    """What ``joblib.dump`` writes: a pickle with arrays beside it, the usual way to keep a fitted model.

    Warning:
        Loading it can run any code that its author chose, as with a pickle. It is chosen by name or extension only,
        never because of a value's type. Load none that somebody else can have written.

    Options:
        compress: When saving, 0 to 9, True, or a pair such as ``("zlib", 3)``.
        protocol: When saving, that of the pickle.
    """

    name = "joblib"
    extensions = (".joblib",)
    takes = "any object whose class can be imported"
    unsafe = True
    libraries = ("joblib", "numpy")

    def fits(self, value: Any, /) -> bool:  # noqa: ARG002 - only trying would tell
        return True

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ("compress", "protocol"))
        joblib = load_library("joblib", "the joblib format")
        with writing(self.name, value):
            joblib.dump(value, Sink(file), **options)

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        joblib = load_library("joblib", "the joblib format")
        with reading(self.name):
            value = joblib.load(file)
        return check_instance(value, return_type)
