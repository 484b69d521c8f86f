"""Any Python object, for Python only. The one built-in format whose files can run code when they are loaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, check_options, plain_type, reading, writing
from eagerly.datasets.formats._library import describe, type_name
from eagerly.errors import DatasetFormatError

__all__ = ["PickleFormat", "check_instance"]


class PickleFormat(Format):
    """Python's pickle.

    Warning:
        Loading a pickle can run any code that its author chose. It is chosen by name or extension only, never because
        of a value's type. Load none that somebody else can have written.

    Options:
        protocol: When saving, 0 to 5; 5 unless given.
    """

    name = "pickle"
    extensions = (".pkl", ".pickle")
    takes = "any object whose class can be imported"
    unsafe = True

    def fits(self, value: Any, /) -> bool:  # noqa: ARG002 - only trying would tell
        return True

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ("protocol",))
        with writing(self.name, value):
            pickle.dump(value, file, protocol=options.get("protocol", 5))

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        with reading(self.name):
            value = pickle.load(file)
        return check_instance(value, return_type)


def check_instance(value: Any, return_type: Any) -> Any:
    """`value`, if it is what was asked for.

    Raises:
        DatasetFormatError: It is not.
    """
    kind = plain_type(return_type)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise DatasetFormatError(
            f"the file holds {describe(value)}, not the {type_name(return_type)} that was asked for"
        )
    return value
