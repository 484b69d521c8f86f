"""NumPy arrays and scalars in the safe format: type of the elements, shape, and their memory. Never with objects in it."""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

from eagerly.cache._safe_wire import UnfitError

__all__ = ["KINDS", "describe", "restore"]

KINDS: Final = frozenset({"ndarray", "scalar"})

_ELEMENT = re.compile(r"[<>|][biufcmMSUV]\d{1,9}(\[\d{0,9}[A-Za-z]{1,2}\])?")
"""What `dtype.str` of an element without objects looks like. NumPy would evaluate other strings more freely."""


def describe(value: Any) -> tuple[str, Any, memoryview] | None:
    """Kind, header (plain data) and memory of `value`, or None if it is not of NumPy.

    Raises:
        UnfitError: It has objects, or a dtype that its description does not lead back to.
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    cls = type(value)
    if cls is numpy.ndarray:
        descr = _describe_elements(numpy, value.dtype, value)
        if value.dtype.itemsize == 0:
            raise UnfitError(value, "its elements have no bytes")
        in_columns = value.flags.f_contiguous and not value.flags.c_contiguous
        memory = numpy.ascontiguousarray(value.T if in_columns else value)
        header = (descr, value.shape, "F" if in_columns else "C", bool(value.flags.writeable))
        return "ndarray", header, memoryview(memory.reshape(-1).view(numpy.uint8))
    if cls.__module__ == "numpy" and issubclass(cls, numpy.generic):
        descr = _describe_elements(numpy, value.dtype, value)
        memory = memoryview(value.tobytes())
        again = restore("scalar", (descr,), memory)
        if type(again) is not cls or again.tobytes() != memory:
            raise UnfitError(value, "its memory does not lead back to it; use .item()")
        return "scalar", (descr,), memory
    return None


def restore(kind: str, header: Any, memory: memoryview) -> Any:
    """What `describe` was given. The array lives in `memory`, or in a copy if that is small or read-only."""
    import numpy as np

    if kind == "scalar":
        (descr,) = header
        return np.ndarray((), _make_dtype(np, descr), bytearray(memory))[()]
    descr, shape, order, writeable = header
    dtype = _make_dtype(np, descr)
    if type(shape) is not tuple or any(type(each) is not int or each < 0 for each in shape):
        raise ValueError("no shape")
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != memory.nbytes:
        raise ValueError("the memory does not have the size of the array")
    if order not in ("C", "F") or type(writeable) is not bool:
        raise ValueError("no order, or no flag")
    array = np.ndarray(shape, dtype, bytearray(memory) if memory.readonly else memory, order=order)
    array.flags.writeable = writeable
    return array


def _describe_elements(numpy: Any, dtype: Any, value: Any) -> Any:
    if dtype.hasobject:
        raise UnfitError(value, "it holds Python objects; use a dtype without any")
    try:
        descr = dtype.descr if dtype.names is not None else dtype.str
        again = _make_dtype(numpy, descr)
    except (ValueError, TypeError):
        again = None
    if again != dtype:
        raise UnfitError(value, f"its dtype {dtype} has no description that leads back to it")
    return descr


def _make_dtype(numpy: Any, descr: Any) -> Any:
    dtype = numpy.lib.format.descr_to_dtype(_checked(descr))
    if dtype.hasobject:
        raise ValueError("an array of objects")
    return dtype


def _checked(descr: Any) -> Any:
    if type(descr) is str:
        if not _ELEMENT.fullmatch(descr):
            raise ValueError(f"{descr!r} is no type of elements")
        return descr
    if type(descr) is not list:
        raise TypeError("neither a type of elements nor a list of fields")
    for field in descr:
        name, inner, *shape = field
        names = name if type(name) is tuple else (name,)
        if not all(type(each) is str for each in names) or type(field) is not tuple or len(shape) > 1:
            raise ValueError("no field")
        if shape and (type(shape[0]) is not tuple or not all(type(each) is int for each in shape[0])):
            raise ValueError("no shape of a field")
        _checked(inner)
    return descr
