"""NumPy arrays and scalars in the safe format: type of the elements, shape, memory. Never with Python objects in it."""

from __future__ import annotations

import importlib
import math
import re
import sys
from typing import Any, Final

from eagerly.cache._safe_wire import UnfitError

__all__ = ["KINDS", "describe", "restore"]

KINDS: Final = frozenset({"ndarray", "scalar"})

_ELEMENT = re.compile(r"[<>|][biufcmMSUV]\d{1,9}(\[\d{0,9}[A-Za-z]{1,2}\])?")
"""What `dtype.str` of an element looks like that is no Python object: there is no ``O``, which NumPy would take for a
pointer. Nor is there anything else that NumPy understands, such as lists of types."""


def describe(given: object) -> tuple[str, tuple[Any, ...], memoryview] | None:
    """Kind, header (plain data) and memory of `value`, or None if it is not of NumPy.

    Raises:
        UnfitError: It has objects, or a dtype that its description does not lead back to.
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    value: Any = given
    cls = type(given)
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
        if not _is(again, cls) or again.tobytes() != memory:
            raise UnfitError(value, "its memory does not lead back to it; use .item()")
        return "scalar", (descr,), memory
    return None


def restore(kind: str, header: tuple[Any, ...], memory: memoryview) -> Any:
    """What `describe` was given. The array lives in `memory`, or in a copy if that is small or read-only."""
    np: Any = importlib.import_module("numpy")
    if kind == "scalar":
        (descr,) = header
        return np.ndarray((), _make_dtype(np, descr), bytearray(memory))[()]
    descr, shape, order, writeable = header
    dtype = _make_dtype(np, descr)
    if dtype.itemsize == 0 or math.prod(_checked_shape(shape)) * dtype.itemsize != memory.nbytes:
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
        if _make_dtype(numpy, descr) == dtype:
            return descr
    except (ValueError, TypeError):
        pass
    raise UnfitError(value, f"its dtype {dtype} has no description that leads back to it")


def _make_dtype(numpy: Any, descr: Any) -> Any:
    return numpy.lib.format.descr_to_dtype(_checked(descr))


def _checked(descr: Any) -> Any:
    """`descr`, if nothing but element types, names and shapes are in it."""
    if _is(descr, str):
        if not _ELEMENT.fullmatch(descr):
            raise ValueError(f"{descr!r} is no type of elements")
        return descr
    for field in descr:
        name, inner, *shape = field
        title, name = name if _is(name, tuple) else ("", name)
        if not (_is(field, tuple) and _is(title, str) and _is(name, str)):
            raise TypeError("no field, or no name of one")
        _checked(inner)
        for each in shape:
            _checked_shape(each)
    return descr


def _checked_shape(shape: Any) -> Any:
    if not _is(shape, tuple) or not all(_is(each, int) and each >= 0 for each in shape):
        raise ValueError("no shape")
    return shape


def _is(value: object, cls: type[object]) -> bool:
    return type(value) is cls
