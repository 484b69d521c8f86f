"""Encodings of polars' values: frames column by column, by dtype and content.

How it is chunked and what lies under nulls do not count.

Never imports polars: a value of it means that it is there. Works without NumPy and pyarrow.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import importlib
import sys
from typing import Any

from eagerly.cache._encode_buffers import bounded
from eagerly.cache._encode_containers import encode_items
from eagerly.cache._encode_references import class_reference
from eagerly.cache._encode_scalars import encode_text
from eagerly.cache._encode_walk import Handler, Refused, Walk, record

__all__ = ["resolve_polars"]


def resolve_polars(cls: type) -> Handler | None:
    """The handler of instances of a class that comes from polars or derives from one that does."""
    pl: Any = sys.modules["polars"]
    for base, handler in ((pl.DataFrame, _frame), (pl.Series, _series), (pl.LazyFrame, _lazy), (pl.Expr, _lazy)):
        if issubclass(cls, base):
            return handler
    return None


def _lazy(value: Any, _walk: Walk) -> bytes:
    raise Refused("it is a plan, not its outcome; pass what .collect() returns", value)


def _frame(frame: Any, walk: Walk) -> bytes:
    columns = [walk(column, f"[{column.name!r}]") for column in frame.get_columns()]
    return record("polars frame", class_reference(type(frame), walk), walk(frame.height), *columns)


def _series(series: Any, walk: Walk) -> bytes:
    return record("polars series", encode_text(series.name), walk(series.dtype, ".dtype"), _content(series, walk))


def _content(series: Any, walk: Walk) -> bytes:
    """The elements of a series whose dtype has been told."""
    pl: Any = sys.modules["polars"]
    dtype = series.dtype
    count = len(series).to_bytes(8, "little")
    if dtype == pl.Null or not len(series):
        return count
    valid = _plain(series.is_not_null().cast(pl.UInt8), walk) if series.null_count() else b""
    if dtype.is_temporal() or (dtype.is_numeric() and dtype not in (pl.Decimal, pl.Int128, pl.UInt128)):
        return record("plain", valid, _plain(series.to_physical().fill_null(0), walk))
    if dtype == pl.Boolean:
        return record("plain", valid, _plain(series.fill_null(False).cast(pl.UInt8), walk))
    if dtype == pl.String or isinstance(dtype, (pl.Categorical, pl.Enum)):
        text = series.cast(pl.String).fill_null("")
        joined = text.str.join("").item()
        lengths = _plain(text.str.len_bytes(), walk)
        return record("text", valid, lengths, bounded(b"a", encode_text(joined)))
    if dtype == pl.List:
        lengths = _plain(series.list.len().fill_null(0), walk)
        filled = series.drop_nulls()
        inner = filled.filter(filled.list.len() > 0).explode()
        return record("list", valid, lengths, _content(inner, walk))
    if dtype == pl.Struct:
        return record("struct", valid, *[_content(series.struct.field(field.name), walk) for field in dtype.fields])
    return record("items", encode_items(series.to_list(), walk))


def _plain(series: Any, walk: Walk) -> bytes:
    """Numbers without nulls."""
    try:
        importlib.import_module("numpy")  # not whether it is loaded: the key must not depend on that
    except ImportError:
        return record("items", encode_items(series.to_list(), walk))
    array = series.rechunk().to_numpy()
    return bounded(b"a", array.data, f"={array.dtype.char}" if array.dtype.kind == "f" else "")
