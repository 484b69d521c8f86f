"""How tasks and workflows cross a process boundary: by reference where a name leads back to them, else by value.

By reference is exact and small; by value (through cloudpickle) is for what another process cannot import: what stands
in ``__main__`` or in a function, lambdas, and copies made by ``task.options()`` that have no name of their own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["find_importable", "reduce_bound", "reduce_decorated"]

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
    import cloudpickle

    _inside.cloudpickle = True
    try:
        return _loads, (cloudpickle.dumps(decorated),)  # pyright: ignore[reportUnknownMemberType]  # untyped
    finally:
        _inside.cloudpickle = False


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
