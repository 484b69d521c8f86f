"""`hook_impl`, the mark on a method that makes it a hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import pluggy

from eagerly._callables import WRAPPERS
from eagerly.errors import OptionTypeError

__all__ = ["PROJECT", "hook_impl", "hook_spec"]

PROJECT = "eagerly"
hook_spec = pluggy.HookspecMarker(PROJECT)
_mark = pluggy.HookimplMarker(PROJECT)

F = TypeVar("F", bound=Callable[..., Any])


@overload
def hook_impl(function: F, /, *, tryfirst: bool = False, trylast: bool = False) -> F: ...


@overload
def hook_impl(*, tryfirst: bool = False, trylast: bool = False) -> Callable[[F], F]: ...


def hook_impl(function: Any = None, /, *, tryfirst: bool = False, trylast: bool = False, **other: Any) -> Any:
    """Mark a method of a plugin as the implementation of the hook of its name.

    The method may take any subset of the hook's arguments, in any order; see `EagerlySpec` for hooks and arguments.
    What it returns is ignored. Plugins that were registered later are called earlier.

    Args:
        function: The method, when used without parentheses.
        tryfirst: Call this one before the others.
        trylast: Call this one after the others.

    Raises:
        OptionTypeError: Another option was given. Wrappers (``wrapper=True``) in particular do not exist here: hooks
            observe a call, they do not surround it.

    Example:
        >>> class Printer:
        ...     @hook_impl
        ...     def on_node_error(self, metadata, error):
        ...         print(f"{metadata.name} failed: {error}")
    """
    for name in other:
        if name in ("wrapper", "hookwrapper"):
            raise OptionTypeError(
                f"hook_impl({name}=True) does not exist: hooks observe a call and cannot surround or change it. "
                "Write two hooks (before_node_execute and after_node_execute), or decorate the function itself"
            )
        raise OptionTypeError(f"hook_impl() has no option {name!r}; the options are tryfirst and trylast")
    if isinstance(function, WRAPPERS):
        hook_impl(function.__func__, tryfirst=tryfirst, trylast=trylast)
        return function
    if function is not None and not callable(function):
        raise OptionTypeError(
            f"hook_impl marks a method, not {function!r}; write @hook_impl or @hook_impl(tryfirst=True)"
        )
    if function is not None:
        return _mark(function, tryfirst=tryfirst, trylast=trylast)

    def mark(function: F, /) -> F:
        return hook_impl(function, tryfirst=tryfirst, trylast=trylast)

    return mark
