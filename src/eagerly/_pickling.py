"""How tasks and workflows cross a process boundary: by reference where a name leads back to them, else by value.

By reference is exact and small; by value (through cloudpickle) is for what another process cannot import: what stands
in ``__main__`` or in a function, lambdas, and copies made by ``task.options()`` that have no name of their own.
"""

from __future__ import annotations

import functools
import io
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

__all__ = ["dump_by_value", "find_importable", "reduce_bound", "reduce_decorated"]

_inside = threading.local()


def reduce_decorated(decorated: Any, func: Callable[..., Any], state: tuple[Any, ...]) -> str | tuple[Any, ...]:
    """What ``__reduce_ex__`` of something that was made of `func` by a decorator returns.

    Args:
        decorated: The task or workflow.
        func: The user's function.
        state: What ``decorated._restore(*state)`` needs to make it again from a blank instance.
    """
    if find_importable(func) is decorated:
        return func.__qualname__
    if getattr(_inside, "cloudpickle", False):
        # cloudpickle is asking, on behalf of a function that refers to this object, and knows how to pickle `func`.
        # As the state is filled in last, the function and the object may refer to each other.
        return _blank, (type(decorated),), state, None, None, _fill
    return _by_value(decorated)


def reduce_bound(bound: Any, owner: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What ``__reduce_ex__`` of a task that is bound to `owner`, or to an instance of it, returns.

    Args:
        bound: The bound task.
        owner: The class.
        reduced: How to make it again where `owner` can be imported.
    """
    if find_importable(owner) is owner or getattr(_inside, "cloudpickle", False):
        return reduced
    return _by_value(bound)


def _by_value(decorated: Any) -> tuple[Any, ...]:
    _inside.cloudpickle = True
    try:
        return _loads, (dump_by_value(decorated),)
    finally:
        _inside.cloudpickle = False


def dump_by_value(value: object, **options: Any) -> bytes:
    """`value` as cloudpickle makes bytes of it, but functions keep the names of their files.

    Without those, tracebacks, warnings, log records and debuggers have no line to show of a function in another
    process.

    Args:
        value: What to pickle.
        options: As for `pickle.Pickler`.
    """
    file = io.BytesIO()
    _pickler()(file, 5, **options).dump(value)
    return file.getvalue()


@functools.cache
def _pickler() -> Callable[..., Any]:
    import cloudpickle

    base: Any = cloudpickle.Pickler

    class Pickler(base):  # type: ignore[misc]  # untyped
        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is not types.CodeType:
                return base.reducer_override(self, obj)
            make, given = base.dispatch_table[types.CodeType](obj)
            return make, tuple(obj.co_filename if each == "<dynamic-code>" else each for each in given)

    return Pickler


def find_importable(func: Callable[..., Any]) -> Any:
    """What another process finds under the name of `func`, or None."""
    module, qualname = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    if module is None or qualname is None or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _loads(data: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


def _blank(cls: type[Any]) -> Any:
    return object.__new__(cls)


def _fill(decorated: Any, state: tuple[Any, ...]) -> None:
    decorated._restore(*state)
