"""Encodings by name: classes and builtin functions, which another process finds under the same name.

A name stands for what it leads to. Classes and functions whose code the user may edit need more than that; what is
registered for them in `_encode_walk.HANDLERS` is asked first.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import collections
import enum
import sys
import types
from collections.abc import Callable
from typing import Any, Final

from eagerly.cache._code_owner import class_is_own
from eagerly.cache._encode_scalars import encode_text
from eagerly.cache._encode_walk import HANDLERS, Refused, Walk, guarded, record

__all__ = ["HEAP_TYPE", "class_reference", "constructor_reference", "global_reference", "named_global", "with_state"]

HEAP_TYPE: Final = 1 << 9
"""Flag of classes that a `class` statement made; the others are C, and their name says all (`Py_TPFLAGS_HEAPTYPE`)."""

CONTAINERS: Final = (list, dict, set, bytearray, collections.deque)

FUNCTIONS_NEED_CODE: Final = "a function is known by its code, which is not encoded here"


def class_reference(cls: type, walk: Walk) -> bytes:
    """What stands for the class of an instance."""
    if not cls.__flags__ & HEAP_TYPE or id(cls) in walk:
        return record("class", cls.__module__.encode(), cls.__qualname__.encode())
    generic: Any = vars(cls).get("__pydantic_generic_metadata__")
    if isinstance(generic, dict) and generic.get("origin"):  # pydantic's Model[int] cannot be found by its name
        return record("generic", class_reference(generic["origin"], walk), walk(generic["args"]))
    return HANDLERS[type](cls, walk)


def with_state(cls: type, reference: bytes, walk: Walk) -> bytes:
    """What stands for a class; one that its name does not lead to has its state beside it: there may be more of it."""
    if issubclass(cls, enum.Enum) or named_global(cls.__module__, cls.__qualname__) is cls:
        return reference
    attributes: list[bytes] = []
    walk.add(id(cls))
    try:
        for base in cls.__mro__:
            if class_is_own(base):
                attributes += [
                    record("attribute", encode_text(name), walk(value, f".{name}"))
                    for name, value in sorted(vars(base).items())
                    if not name.startswith("__") and _is_state(value)
                ]
    finally:
        walk.discard(id(cls))
    return record("made", reference, *attributes) if attributes else reference


def _is_state(value: Any) -> bool:
    """Whether the version of the code of a class leaves it out under a lower-case name, as it may change."""
    cls: type = type(value)
    return isinstance(value, CONTAINERS) or (
        class_is_own(cls) and not issubclass(cls, type) and not hasattr(cls, "__get__")
    )


def constructor_reference(function: Any, walk: Walk) -> bytes:
    """What stands for the callable that `__reduce_ex__` names: always something that pickle could find by name."""
    if isinstance(function, type):
        return class_reference(function, walk)
    if type(function) is types.FunctionType and HANDLERS[types.FunctionType] is REFUSE_FUNCTION:
        return global_reference(function, getattr(function, "__qualname__", None))
    if type(function) in HANDLERS or type(function) is types.MethodType:
        return walk(function, "")
    return global_reference(function, getattr(function, "__qualname__", None))


def global_reference(value: Any, name: str | None) -> bytes:
    """Module and name of something that is found there."""
    module = getattr(value, "__module__", None)
    if type(name) is not str or type(module) is not str or named_global(module, name) is not value:
        raise Refused("it cannot be found by its name", value)
    return record("global", module.encode(), name.encode())


def named_global(module: str, name: str) -> Any:
    """What `name`, which may have dots, means in a module that is loaded; None if nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _has_name(cls: type) -> bool:
    if not cls.__flags__ & HEAP_TYPE:
        return True
    # A module that is not loaded is that of a library whose classes name the public place, not where they were made.
    unloaded = cls.__module__ not in sys.modules and "<locals>" not in cls.__qualname__
    return unloaded or named_global(cls.__module__, cls.__qualname__) is cls


def _class(cls: type, _walk: Walk) -> bytes:
    if not _has_name(cls):
        raise Refused(f"the class {cls.__qualname__} cannot be found by its name, as it was made in a function", cls)
    return record("class", cls.__module__.encode(), cls.__qualname__.encode())


def _builtin(function: types.BuiltinFunctionType, walk: Walk) -> bytes:
    owner = function.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        module: str | None = function.__module__
        return record("builtin", (module or "").encode(), function.__qualname__.encode())
    return record("builtin method", walk(owner, ".__self__"), function.__name__.encode())


def _refuse_function(function: Callable[..., Any], _walk: Walk) -> bytes:
    raise Refused(FUNCTIONS_NEED_CODE, function)


REFUSE_FUNCTION: Final = guarded(_refuse_function)

HANDLERS[type] = guarded(_class)
HANDLERS[types.BuiltinFunctionType] = guarded(_builtin)
HANDLERS[types.FunctionType] = HANDLERS[types.MethodType] = REFUSE_FUNCTION
