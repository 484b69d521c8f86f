"""`LooksLikeFunction`: how tasks and workflows pass for the function they were made of.

Nothing here changes the function, or knows what a task is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eagerly._callables import callable_name, code_of, innermost

if TYPE_CHECKING:
    import inspect

__all__ = ["LooksLikeFunction"]


class _OfInstances:
    """An attribute that instances have and their class does not, such as ``__signature__``."""

    def __init__(self, get: Callable[[Any], Any]) -> None:
        self._get = get

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            raise AttributeError("instances have this attribute, their class has not")
        return self._get(instance)


class LooksLikeFunction:
    """Base of what is made of a function and called like it. Needs a ``__dict__``, and ``func`` and ``signature``."""

    __slots__ = ()

    if TYPE_CHECKING:
        func: Callable[..., Any]
        __name__: str
        __qualname__: str

        @property
        def signature(self) -> inspect.Signature: ...

    def _resemble(self, func: Callable[..., Any]) -> None:
        # In the instance, as classes have a name, a docstring, a module and annotations of their own.
        name, named = callable_name(func), innermost(func)
        vars(self).update(
            __name__=name,
            __qualname__=getattr(named, "__qualname__", name),
            __doc__=named.__doc__,
            __module__=getattr(named, "__module__", None),
            __annotations__=getattr(func, "__annotations__", {}),
        )

    __wrapped__ = _OfInstances(lambda self: self.func)
    __signature__ = _OfInstances(lambda self: self.signature)
    __code__ = _OfInstances(lambda self: code_of(self.func))
    __defaults__ = _OfInstances(lambda self: getattr(self.func, "__defaults__", None))
    __kwdefaults__ = _OfInstances(lambda self: getattr(self.func, "__kwdefaults__", None))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Everything else that people put on a function."""
            if name == "func":  # asked for while the object is still being made or unpickled
                raise AttributeError(name)
            try:
                return getattr(self.func, name)
            except AttributeError:
                message = f"{type(self).__name__} {self.__name__!r} has no attribute {name!r}"
                raise AttributeError(message, name=name, obj=self) from None
