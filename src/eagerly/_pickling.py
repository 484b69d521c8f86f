"""How a task crosses a process boundary: by reference where its name leads back to it, by value otherwise.

By reference is exact and small; by value (through cloudpickle) is for what another process cannot import: tasks of
``__main__``, nested functions, lambdas, and copies made by ``task.options()`` that have no name of their own.
"""

from __future__ import annotations

import sys
import threading
from types import MethodType
from typing import TYPE_CHECKING, Any

from eagerly._declaration import Declaration

if TYPE_CHECKING:
    from eagerly._tasks import Task

__all__ = ["reduce_task"]

_inside = threading.local()


def reduce_task(task: Task[..., Any]) -> str | tuple[Any, ...]:
    """What ``__reduce_ex__`` of a task returns."""
    func, declaration = task.func, task.declaration
    if isinstance(func, MethodType) and func is not declaration.func:
        return getattr, (func.__self__, declaration.plain)
    named = _importable(getattr(declaration.func, "__module__", None), declaration.qualname)
    if named is task:
        return declaration.qualname
    if isinstance(named, type(task)) and named.declaration.func is declaration.func:
        return _with_options, (named, declaration.options)
    if getattr(_inside, "cloudpickle", False):
        # cloudpickle itself is asking, on behalf of a function that refers to the task: it knows how to pickle `func`,
        # and filling in the state last lets the function and the task refer to each other.
        return _blank, (type(task),), (declaration.undecorated, declaration.options), None, None, _fill
    import cloudpickle

    _inside.cloudpickle = True
    try:
        return _loads, (cloudpickle.dumps(task),)
    finally:
        _inside.cloudpickle = False


def _importable(module: str | None, qualname: str) -> Any:
    """What another process finds under this name, or None."""
    if module is None or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _with_options(task: Task[..., Any], options: dict[str, Any]) -> Task[..., Any]:
    return type(task)(Declaration(task.declaration.undecorated, options))


def _loads(data: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


def _blank(cls: type[Task[..., Any]]) -> Task[..., Any]:
    return object.__new__(cls)


def _fill(task: Task[..., Any], state: tuple[Any, dict[str, Any]]) -> None:
    task.__init__(Declaration(*state))  # type: ignore[misc]  # a blank one is initialised here
