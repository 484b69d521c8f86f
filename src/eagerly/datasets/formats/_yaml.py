"""YAML, in its safe subset."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._exact import Grammar, exact_tree, whole_minutes
from eagerly.datasets.formats._format import Format, check_options, reading, writing
from eagerly.datasets.formats._json import PLAIN_TYPES, as_type
from eagerly.datasets.formats._library import load_library
from eagerly.datasets.formats._models import is_model
from eagerly.datasets.formats._text import TextEncoder

__all__ = ["YamlFormat"]

GRAMMAR = Grammar(
    "YAML",
    PLAIN_TYPES | {bytes, datetime.date, datetime.datetime},
    keys=frozenset({str, int}),
    checks={datetime.datetime: whole_minutes},
)

NEXT_LINE = "\x85"
"""A line end to PyYAML, which loads it as another one unless it is escaped. It escapes either all or this not."""


class YamlFormat(Format):
    """YAML in UTF-8 through ``yaml.safe_dump`` and ``yaml.safe_load``, which make no objects of other classes.

    Holds what JSON holds, and NaN, infinities, bytes, dates and datetimes, and ints as keys. As with json, what would
    be changed is refused, and dataclasses and pydantic models need their class as ``return_type`` to come back.

    Options:
        default: When saving, a function that gets what does not fit and gives what to write instead.
        default_flow_style, indent, sort_keys, width: When saving, as in PyYAML; keys keep their order unless asked.
    """

    name = "yaml"
    extensions = (".yaml", ".yml")
    takes = "scalars, dates, bytes, dataclasses, pydantic models, and lists and dicts of them"
    libraries = ("PyYAML",)

    def fits(self, value: Any, /) -> bool:
        return type(value) in GRAMMAR.scalars or type(value) in (list, dict) or is_model(value)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ("default", "default_flow_style", "indent", "sort_keys", "width"))
        self.require_fit(value)
        yaml = load_library("yaml", "the yaml format")
        tree = exact_tree(value, GRAMMAR, options.get("default"))
        style = {name: option for name, option in options.items() if name != "default"}
        with writing(self.name, value):
            text = yaml.safe_dump(tree, **{"allow_unicode": True, "sort_keys": False, **style})
            if NEXT_LINE in text:
                text = yaml.safe_dump(tree, **{"allow_unicode": False, "sort_keys": False, **style})
        file.write(TextEncoder("utf-8", self.name).encode(text, final=True))

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        yaml = load_library("yaml", "the yaml format")
        with reading(self.name):
            value = yaml.safe_load(file.read().decode())
        return as_type(value, return_type, self.name)
