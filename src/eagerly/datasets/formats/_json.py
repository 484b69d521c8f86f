"""JSON: what it cannot hold exactly is refused, not changed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._exact import Grammar, exact_tree
from eagerly.datasets.formats._format import Format, check_options, plain_type, reading, writing
from eagerly.datasets.formats._library import describe, type_name
from eagerly.datasets.formats._models import build, is_model
from eagerly.datasets.formats._text import TextEncoder
from eagerly.errors import DatasetFormatError

__all__ = ["PLAIN_TYPES", "SAVE_OPTIONS", "JsonFormat", "as_type", "encode_json"]

PLAIN_TYPES = frozenset({type(None), bool, int, float, str})
SAVE_OPTIONS = ("allow_nan", "default", "ensure_ascii", "sort_keys")


def finite(number: float) -> str:
    return "" if math.isfinite(number) else "which it does not have; write None, or options={'allow_nan': True}"


STRICT = Grammar("JSON", PLAIN_TYPES, checks={float: finite})
WITH_NAN = Grammar("JSON", PLAIN_TYPES)


class JsonFormat(Format):
    """JSON in UTF-8. What is loaded is what was saved: None, bool, int, float, str, and lists and dicts of them.

    Anything that JSON would change is refused: tuples, keys that are not text, subclasses, NaN. Dataclasses and
    pydantic models are saved as objects, if their annotations can rebuild them; give their class as ``return_type``,
    for example ``list[Order]``, to get them back. Without it they are loaded as dicts.

    Options:
        default: When saving, a function that gets what does not fit and gives what to write instead.
        allow_nan: When saving, True lets NaN and infinities through, which Python reads and others may not.
        indent: When saving, spaces per level, for people.
        sort_keys: When saving, True writes keys in order. The order of a dict is lost.
        ensure_ascii: When saving, True writes ``\\u00e9`` for an accented e.
    """

    name = "json"
    extensions = (".json",)
    takes = "None, bool, int, float, str, dataclasses, pydantic models, and lists and dicts of them"

    def fits(self, value: Any, /) -> bool:
        return type(value) in PLAIN_TYPES or type(value) in (list, dict) or is_model(value)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, (*SAVE_OPTIONS, "indent"))
        file.write(encode_json(value, options) + b"\n")

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        with reading(self.name):
            value = json.loads(file.read().decode())
        return as_type(value, return_type, self.name)


def encode_json(value: Any, options: Mapping[str, Any]) -> bytes:
    """The JSON text of `value`, on one line unless `options` say otherwise.

    Raises:
        DatasetFormatError: JSON cannot hold it exactly.
    """
    allow_nan = bool(options.get("allow_nan", False))
    tree = exact_tree(value, WITH_NAN if allow_nan else STRICT, options.get("default"))
    with writing("json", value):
        text = json.dumps(
            tree,
            allow_nan=allow_nan,
            ensure_ascii=options.get("ensure_ascii", False),
            indent=options.get("indent"),
            sort_keys=options.get("sort_keys", False),
        )
    return TextEncoder("utf-8", "json").encode(text, final=True)


def as_type(value: Any, return_type: Any, format_name: str) -> Any:
    """What was loaded, as what was asked for.

    Raises:
        DatasetFormatError: It is something else.
    """
    if return_type is None:
        return value
    root = type_name(plain_type(return_type)).partition(".")[0]
    if root in ("numpy", "pandas", "polars", "pyarrow"):
        raise DatasetFormatError(
            f"{format_name} cannot be loaded as {type_name(return_type)}; this file holds {describe(value)}"
        )
    return build(value, return_type)
