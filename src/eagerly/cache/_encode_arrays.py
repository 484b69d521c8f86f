"""Encodings of NumPy's values: arrays by dtype, shape, order and buffer, scalars, dtypes.

Buffers are hashed where they lie. What nobody can see (padding, what a mask hides, what is between the strides) does
not count. Never imports NumPy: a value of it means that it is there.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import sys
from typing import Any, Final

from eagerly.cache._encode_buffers import bounded
from eagerly.cache._encode_containers import encode_items
from eagerly.cache._encode_references import class_reference
from eagerly.cache._encode_scalars import encode_text
from eagerly.cache._encode_walk import Handler, Refused, Walk, record, sized

__all__ = ["encode_array", "encode_elements", "resolve_numpy"]

EXTENDED: Final = {16: 10, 12: 10}
"""Bytes of a long double on x86, and how many of them count."""

FLOATS: Final = {"e": "e", "f": "f", "d": "d", "F": "f", "D": "d"}
"""By the letter of a dtype: the floats that its items consist of."""

MASKED_STATE: Final = frozenset(
    {"_baseclass", "_basedict", "_fill_value", "_hardmask", "_isfield", "_mask", "_optinfo", "_sharedmask"}
)
"""What NumPy itself keeps on a masked array."""


def resolve_numpy(cls: type) -> Handler | None:
    """The handler of instances of a class that comes from NumPy or derives from one that does."""
    np: Any = sys.modules["numpy"]
    masked: Any = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is not None and issubclass(cls, masked):
        return _masked
    if cls is np.ndarray:
        return encode_array
    if issubclass(cls, np.ndarray):
        return _subclass
    if issubclass(cls, np.generic):
        return _scalar
    if issubclass(cls, np.dtype):
        return encode_dtype
    if issubclass(cls, np.ufunc):
        return _ufunc
    return None


def encode_array(array: Any, walk: Walk) -> bytes:
    """An ndarray. One in Fortran order differs from one in C order; any other counts as its copy in C order."""
    fortran = _is_fortran(array)
    return record(
        "ndarray",
        encode_dtype(array.dtype, walk),
        b"".join([size.to_bytes(8, "little") for size in array.shape]),
        b"F" if fortran else b"C",
        encode_elements(array.T if fortran else array, walk),
    )


def _is_fortran(array: Any) -> bool:
    flags: Any = array.flags
    return bool(flags.f_contiguous and not flags.c_contiguous)


def encode_elements(array: Any, walk: Walk) -> bytes:
    """The elements of an ndarray in C order, without dtype and shape."""
    dtype = array.dtype
    if dtype.names is not None:  # there may be padding between the fields
        return record("fields", *[encode_elements(array[name], walk) for name in dtype.names])
    if dtype.hasobject or dtype.kind == "T":
        return encode_items(array.reshape(-1).tolist(), walk)
    if array.size == 0 or dtype.itemsize == 0:
        return b""
    raw = sys.modules["numpy"].ascontiguousarray(array).reshape(-1).view("u1")
    size = dtype.itemsize
    if dtype.char in "gG":
        part = size // 2 if dtype.char == "G" else size
        raw = _with_one_nan(raw, dtype.str[0] + f"f{part}")
        used = EXTENDED.get(part, part) if sys.modules["numpy"].finfo(dtype).nmant == 63 else part
        raw = raw.reshape(-1, part)[:, :used].reshape(-1)
    return bounded(b"a", raw.data, dtype.str[0] + FLOATS[dtype.char] if dtype.char in FLOATS else "")


def _with_one_nan(raw: Any, dtype: str) -> Any:
    """The bytes of long doubles, in which all NaNs have the same bits."""
    np: Any = sys.modules["numpy"]
    array = raw.view(dtype)
    missing = np.isnan(array)
    if not missing.any():
        return raw
    array = array.copy()
    array[missing] = np.nan
    return array.view("u1")


def encode_dtype(dtype: Any, walk: Walk) -> bytes:
    """A dtype; the ones that are equal on this machine but have different names are one."""
    extra = walk(dict(dtype.metadata), ".metadata") if dtype.metadata else b""
    if dtype.names is not None:
        fields = [
            record("field", encode_text(name), encode_dtype(field[0], walk), walk(field[1:]))
            for name in dtype.names
            for field in [dtype.fields[name]]
        ]
        layout = (dtype.itemsize, dtype.isalignedstruct)
        return record("structure", class_reference(dtype.type, walk), walk(layout), extra, *fields)
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return record("subarray", encode_dtype(base, walk), walk(shape), extra)
    if dtype.kind == "T":
        missing = walk(dtype.na_object, ".na_object") if hasattr(dtype, "na_object") else b""
        return record("string dtype", missing, walk(dtype.coerce), extra)
    own = encode_text(dtype.name) if dtype.isbuiltin == 2 else b""  # of another library: all have the letter V
    return record("dtype", dtype.str.encode(), own, extra)


def _scalar(value: Any, walk: Walk) -> bytes:
    dtype = value.dtype
    if dtype.kind in "fc" and value != value:  # NaN is one value
        parts = (b"",) if dtype.kind == "f" else (walk(value.real), walk(value.imag))
        return record("scalar NaN", encode_dtype(dtype, walk), *parts)
    if dtype.type is type(value) and dtype.kind in "iubf" and dtype.itemsize <= 8:
        return sized(b"x", dtype.str.encode() + b"|" + value.tobytes())
    array: Any = sys.modules["numpy"].asarray(value)
    kind = b"" if dtype.type is type(value) else class_reference(type(value), walk)
    return record("scalar", kind, encode_dtype(dtype, walk), encode_elements(array, walk))


def _subclass(array: Any, walk: Walk) -> bytes:
    np: Any = sys.modules["numpy"]
    cls = type(array)
    extra = None if cls is np.memmap else getattr(array, "__dict__", None)
    content = encode_array(array.view(np.ndarray), walk)
    return record("array subclass", class_reference(cls, walk), content, walk(extra) if extra else b"")


def _masked(array: Any, walk: Walk) -> bytes:
    np: Any = sys.modules["numpy"]
    if array is np.ma.masked:
        return record("masked")
    mask = np.ma.getmaskarray(array)
    data, attributes = array.data.view(np.ndarray), vars(array)
    extra = {name: value for name, value in attributes.items() if name not in MASKED_STATE}
    return record(
        "masked array",
        class_reference(type(array), walk),
        encode_dtype(array.dtype, walk),
        encode_array(np.ascontiguousarray(mask), walk),
        b"F" if _is_fortran(data) else b"C",
        _unhidden(np, data, mask, walk),
        walk(array.fill_value),
        walk(array.hardmask),
        walk(extra) if extra else b"",
        walk(attributes["_optinfo"]) if attributes.get("_optinfo") else b"",
    )


def _unhidden(np: Any, data: Any, mask: Any, walk: Walk) -> bytes:
    if data.dtype.names is not None:
        return record("fields", *[_unhidden(np, data[name], mask[name], walk) for name in data.dtype.names])
    shown = np.array(data, order="C")
    shown[mask] = np.zeros((), dtype=data.dtype)
    return record("shown", walk(shown.shape), encode_elements(shown, walk))


def _ufunc(function: Any, _walk: Walk) -> bytes:
    name: str = function.__name__
    if getattr(sys.modules["numpy"], name, None) is not function:
        raise Refused("only the functions of NumPy itself are known by their name", function)
    return record("ufunc", name.encode())
