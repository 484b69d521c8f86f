"""A parameter that is annotated `TaskContext`: it is filled with the call that is made, and no caller sees it.

Looked for once, when a task is declared. A function without such a parameter is left as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from eagerly._callables import innermost

if TYPE_CHECKING:
    from eagerly._context import TaskContext

__all__ = ["INJECTED", "injected_parameter", "injecting", "provide", "without_parameter"]

_CLASS = "TaskContext"
_HOME = "eagerly._context"

_current: Callable[[], Any] = bool


class _Injected:
    """The default of a parameter that `task` fills with the call, so that type checkers do not ask callers for it.

    The annotation is what counts: a parameter that is annotated `TaskContext` is filled with or without a default, and
    no caller sees it.

    Example:
        >>> from eagerly import INJECTED, TaskContext, task
        >>> @task
        ... def convert(files: list[str], *, call: TaskContext = INJECTED) -> str:
        ...     return f"{call.name} of {len(files)}"
        >>> convert(["a.png", "b.png"])
        'convert of 2'
    """

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"INJECTED.{name}: this function was called without @task, which fills the parameter; decorate it, or pass"
            " current_task() to it"
        )

    def __repr__(self) -> str:
        return "INJECTED"

    def __reduce__(self) -> str:
        return "INJECTED"


if TYPE_CHECKING:
    INJECTED: TaskContext
else:
    INJECTED = _Injected()


def provide(current: Callable[[], Any]) -> None:
    """Say how one gets the call on whose behalf code runs. Calls are made of what is declared, and stand higher."""
    global _current
    _current = current


def injected_parameter(func: Callable[..., Any], signature: inspect.Signature) -> str | None:
    """The parameter of `func` that is to be filled with its call, or None."""
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and _is_ours(
            parameter.annotation, func
        ):
            return name
    return None


def without_parameter(signature: inspect.Signature, name: str) -> inspect.Signature:
    """What callers see."""
    return signature.replace(parameters=[each for each in signature.parameters.values() if each.name != name])


def injecting(func: Callable[..., Any], signature: inspect.Signature, name: str) -> Callable[..., Any]:
    """`func` without its parameter `name`, which is filled with the call that is made."""
    parameters = list(signature.parameters.values())
    place = parameters.index(signature.parameters[name])
    by_place = parameters[place].kind is not inspect.Parameter.KEYWORD_ONLY

    @functools.wraps(func)
    def injected(*args: Any, **kwargs: Any) -> Any:
        if by_place and len(args) >= place:
            return func(*args[:place], _current(), *args[place:], **kwargs)
        return func(*args, **{**kwargs, name: _current()})

    injected.__signature__ = without_parameter(signature, name)  # type: ignore[attr-defined]  # for inspect
    return injected


def _is_ours(annotation: Any, func: Any) -> bool:
    if isinstance(annotation, str):  # as it was written, with ``from __future__ import annotations``
        text = annotation.strip("'\" ")
        if text.rpartition(".")[2] != _CLASS:
            return False
        found = getattr(innermost(func), "__globals__", {}).get(text)
        return found is None or _is_ours(found, func)  # None: imported for type checkers only
    return isinstance(annotation, type) and annotation.__name__ == _CLASS and annotation.__module__ == _HOME
