"""TOML: settings that people edit."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._exact import Grammar, exact_tree, whole_minutes
from eagerly.datasets.formats._format import Format, check_options, reading, writing
from eagerly.datasets.formats._json import as_type
from eagerly.datasets.formats._library import load_library
from eagerly.datasets.formats._models import is_model
from eagerly.datasets.formats._text import TextEncoder
from eagerly.errors import DatasetFormatError

__all__ = ["TomlFormat"]


def fits_64_bits(number: int) -> str:
    return "" if -(2**63) <= number < 2**63 else "which has more than the 64 bits of its integers; write text"


def has_no_zone(moment: datetime.time) -> str:
    plain = moment.tzinfo is None and not moment.fold
    return "" if plain else "and times have no zone and no fold there; write a datetime"


GRAMMAR = Grammar(
    "TOML",
    frozenset({bool, int, float, str, datetime.date, datetime.datetime, datetime.time}),
    checks={int: fits_64_bits, datetime.datetime: whole_minutes, datetime.time: has_no_zone},
)


class TomlFormat(Format):
    """A dict as TOML. Reading needs no library, writing needs tomli-w.

    Holds bool, int, float, str, dates, times, and lists and dicts of them, but no None. Within a table, plain values
    come before tables, whatever the order of the dict was. Dataclasses and pydantic models need their class as
    ``return_type`` to come back.

    Options:
        default: When saving, a function that gets what does not fit and gives what to write instead.
        indent, multiline_strings: When saving, as in tomli-w.
    """

    name = "toml"
    extensions = (".toml",)
    takes = "a dict, a dataclass or a pydantic model"
    libraries = ("tomli-w",)

    def fits(self, value: Any, /) -> bool:
        return type(value) is dict or is_model(value)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ("default", "indent", "multiline_strings"))
        self.require_fit(value)
        tomli_w = load_library("tomli_w", "writing the toml format")
        tree = exact_tree(value, GRAMMAR, options.get("default"))
        if type(tree) is not dict:
            raise DatasetFormatError(f"TOML holds tables; this {type(value).__name__} would be written as {tree!r}")
        style = {name: option for name, option in options.items() if name != "default"}
        with writing(self.name, value):
            text = tomli_w.dumps(tree, **style)
        file.write(TextEncoder("utf-8", self.name).encode(text, final=True))

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        import tomllib

        check_options(self.name, options, ())
        with reading(self.name):
            value = tomllib.loads(file.read().decode())
        return as_type(value, return_type, self.name)
