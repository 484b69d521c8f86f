"""Encodings of pandas' values: frames column by column, with index, names and dtypes.

How a frame came about does not count: its blocks, unused levels, caches. What a function can see does: `attrs`, flags,
the frequency of an index. Never imports pandas: a value of it means that it is there.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import sys
from typing import Any, Final

from eagerly.cache._encode_arrays import encode_array
from eagerly.cache._encode_arrow import encode_arrow
from eagerly.cache._encode_records import encode_reduced
from eagerly.cache._encode_references import class_reference
from eagerly.cache._encode_walk import Handler, Walk, record

__all__ = ["resolve_pandas"]

DERIVED: Final = frozenset({"_cache"})
"""Where pandas keeps what it has computed from the rest."""


def resolve_pandas(cls: type) -> Handler | None:
    """The handler of instances of a class that comes from pandas or derives from one that does."""
    pd: Any = sys.modules["pandas"]
    for base, handler in (
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.MultiIndex, _multi_index),
        (pd.RangeIndex, _range_index),
        (pd.Index, _index),
        (pd.api.extensions.ExtensionArray, _extension_array),
    ):
        if issubclass(cls, base):
            return handler
    return encode_reduced(cls, DERIVED) if issubclass(cls, pd.api.extensions.ExtensionDtype) else None


def _frame(frame: Any, walk: Walk) -> bytes:
    columns = [
        walk(frame.iloc[:, position].array, f"[{name!r}]" if type(name) is str else f".iloc[:, {position}]")
        for position, name in enumerate(frame.columns)
    ]
    return record(
        "DataFrame",
        class_reference(type(frame), walk),
        walk(frame.columns, ".columns"),
        walk(frame.index, ".index"),
        _described(frame, walk),
        *columns,
    )


def _series(series: Any, walk: Walk) -> bytes:
    return record(
        "Series",
        class_reference(type(series), walk),
        walk(series.name, ".name"),
        walk(series.index, ".index"),
        _described(series, walk),
        walk(series.array, ""),
    )


def _described(value: Any, walk: Walk) -> bytes:
    """What a frame or series has beside its contents."""
    own = {name: getattr(value, name, None) for name in value._metadata if name not in ("name", "_name")}
    return record(
        "described",
        walk(dict(value.attrs), ".attrs") if value.attrs else b"",
        walk(value.flags.allows_duplicate_labels),
        walk(own) if own else b"",
    )


def _range_index(index: Any, walk: Walk) -> bytes:
    return record("RangeIndex", walk((index.start, index.stop, index.step)), walk(index.name, ".name"))


def _multi_index(index: Any, walk: Walk) -> bytes:
    levels = [walk(index.get_level_values(level).array, f".levels[{level}]") for level in range(index.nlevels)]
    return record("MultiIndex", walk(list(index.names), ".names"), *levels)


def _index(index: Any, walk: Walk) -> bytes:
    frequency = getattr(index, "freq", None)
    return record(
        "Index",
        class_reference(type(index), walk),
        walk(index.name, ".name"),
        walk(frequency, ".freq") if frequency is not None else b"",
        walk(index.array, ""),
    )


def _extension_array(array: Any, walk: Walk) -> bytes:
    pd: Any = sys.modules["pandas"]
    arrays: Any = pd.arrays
    dtype = array.dtype
    cls = type(array)
    head = (class_reference(cls, walk), walk(dtype, ".dtype"))
    if isinstance(array, arrays.NumpyExtensionArray) and not isinstance(dtype, pd.StringDtype):
        return record("pandas array", encode_array(array.to_numpy(), walk))
    if isinstance(array, pd.Categorical):
        return record("pandas array", *head, encode_array(array.codes, walk))
    if isinstance(array, (arrays.DatetimeArray, arrays.TimedeltaArray, arrays.PeriodArray)):
        return record("pandas array", *head, encode_array(array.asi8, walk))
    if isinstance(array, arrays.IntervalArray):
        return record("pandas array", *head, walk(array.left, ".left"), walk(array.right, ".right"))
    if isinstance(array, arrays.SparseArray):
        positions = array.sp_index.indices
        return record("pandas array", *head, walk(len(array)), walk(positions), walk(array.sp_values))
    if isinstance(array, (arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray)):
        missing = array.isna()
        shown = array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return record("pandas array", *head, encode_array(missing, walk), encode_array(shown, walk))
    if hasattr(array, "__arrow_array__") and isinstance(dtype, (pd.ArrowDtype, pd.StringDtype)):
        if isinstance(dtype, pd.StringDtype) and dtype.storage == "python":
            return record("pandas array", *head, encode_array(array.to_numpy(dtype=object), walk))
        return record("pandas array", *head, encode_arrow(array.__arrow_array__(), walk))
    return encode_reduced(cls, DERIVED)(array, walk)
