"""What kind of function is this, and what does it take? Asked once, when a task is declared; never per call."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from eagerly.errors import OptionTypeError

__all__ = [
    "WRAPPERS",
    "AdvisingName",
    "Kind",
    "callable_name",
    "code_of",
    "compile_binder",
    "innermost",
    "kind_of",
    "renamed",
    "signature_of",
]

WRAPPERS: tuple[type[Any], ...] = (classmethod, staticmethod)
"""What makes a function in a class something else than a method. Declared so that isinstance brings no Unknown."""


class Kind(enum.Enum):
    """The four kinds of function, by what calling them gives."""

    SYNC = "sync"
    ASYNC = "async"
    STREAM = "stream"
    ASYNC_STREAM = "async stream"


def kind_of(func: Callable[..., Any]) -> Kind:
    """The kind of `func`, looking through partials, methods and ``__call__`` of instances."""
    for candidate in (func, getattr(type(func), "__call__", None)):  # noqa: B004 - the attribute is wanted
        if inspect.isasyncgenfunction(candidate):
            return Kind.ASYNC_STREAM
        if inspect.iscoroutinefunction(candidate) or _is_marked(candidate):
            return Kind.ASYNC
        if getattr(getattr(candidate, "__code__", None), "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE:
            return Kind.ASYNC  # made by types.coroutine
        if inspect.isgeneratorfunction(candidate):
            return Kind.STREAM
    return Kind.SYNC


def _is_marked(func: object) -> bool:
    """Whether `func` carries the mark that asyncio used before ``inspect.markcoroutinefunction`` (Python 3.12)."""
    asyncio_coroutines = sys.modules.get("asyncio.coroutines")
    mark = getattr(asyncio_coroutines, "_is_coroutine", None)
    return mark is not None and getattr(func, "_is_coroutine", None) is mark


def innermost(func: Any) -> Any:
    """The function that a person means by a partial of it."""
    while isinstance(func, functools.partial):
        func = func.func
    return func


def callable_name(func: object) -> str:
    """What a person would call `func`: its name, that of the function a partial is of, or that of its class."""
    func = innermost(func)
    name = getattr(func, "__name__", None)
    return name if isinstance(name, str) else type(func).__name__


def code_of(func: Any) -> Any:
    """The code that runs when `func` is called, found as `kind_of` finds the kind.

    Raises:
        AttributeError: There is none, as for builtins.
    """
    func = innermost(func)
    code = getattr(func, "__code__", None)
    return type(func).__call__.__code__ if code is None else code


def signature_of(decorator: str, func: Callable[..., Any]) -> inspect.Signature:
    """The signature of `func`.

    Raises:
        OptionTypeError: It has none that Python can see (some builtins).
    """
    try:
        return inspect.signature(func)
    except ValueError:
        name = callable_name(func)
        raise OptionTypeError(
            f"@{decorator} needs a signature, and Python knows none for {func!r}; wrap it: "
            f"{decorator}(lambda value: {name}(value), name={name!r})"
        ) from None


def compile_binders(func: Callable[..., Any], signature: inspect.Signature) -> tuple[Any, Any]:
    """Two functions that take what `func` takes: one refuses wrong arguments, the other returns them by name.

    Args:
        func: The user's function.
        signature: What `inspect.signature` says of it. A decorator that passes arguments of its own to the function it
            wraps shows the signature of that one, though it takes other arguments itself; those are what count.
    """
    name = getattr(func, "__qualname__", callable_name(func))
    check, bind = compile_binder(signature, name)
    try:
        own = inspect.signature(func, follow_wrapped=False)
    except ValueError:  # a wrapper written in C, like that of functools.lru_cache, which passes on what it gets
        return check, bind
    if own == signature:
        return check, bind
    check, bind_own = compile_binder(own, name)

    def bind_either(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return bind(*args, **kwargs)
        except TypeError:
            return bind_own(*args, **kwargs)

    return check, bind_either


def compile_binder(
    signature: inspect.Signature, name: str
) -> tuple[Callable[..., None], Callable[..., dict[str, Any]]]:
    """Two functions with the parameters of `signature`: one does nothing, the other returns its arguments by name.

    Calling the first is what refuses wrong arguments, with the interpreter's own message, at a thirtieth of the cost of
    ``Signature.bind``.
    """
    kinds = inspect.Parameter
    stars: dict[object, str] = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}
    parts: list[str] = []
    last = None
    for parameter in signature.parameters.values():
        if last is kinds.POSITIONAL_ONLY and parameter.kind is not last:
            parts.append("/")
        if parameter.kind is kinds.KEYWORD_ONLY and last not in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL):
            parts.append("*")
        star = stars.get(parameter.kind, "")
        parts.append(f"{star}{parameter.name}{'' if parameter.default is parameter.empty else '=None'}")
        last = parameter.kind
    if last is kinds.POSITIONAL_ONLY:
        parts.append("/")
    by_name = ", ".join(f"{name!r}: {name}" for name in signature.parameters)
    head = ", ".join(parts)
    namespace: dict[str, Any] = {}
    exec(f"def check({head}): pass\ndef bind({head}): return {{{by_name}}}", namespace)
    given = [p for p in signature.parameters.values() if p.default is not p.empty]
    for function in (namespace["check"], namespace["bind"]):
        function.__defaults__ = tuple(p.default for p in given if p.kind is not kinds.KEYWORD_ONLY)
        function.__kwdefaults__ = {p.name: p.default for p in given if p.kind is kinds.KEYWORD_ONLY}
        function.__name__ = function.__qualname__ = name
    return namespace["check"], namespace["bind"]


def renamed(function: Any, name: str, qualname: str) -> Any:
    """A copy of a coroutine or generator function under another name.

    What it returns carries that name: it is the one people see in "coroutine ... was never awaited", in the repr of a
    generator and in asyncio's debugging output.
    """
    copy = type(function)(function.__code__, function.__globals__, name, function.__defaults__, function.__closure__)
    copy.__qualname__ = qualname
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class AdvisingName(str):
    """The name of a coroutine, which adds how to do it right where Python reports that it was never awaited.

    Python formats that name in `warnings._warn_unawaited_coroutine`; should that change, only the advice is lost.
    To everything else it is the plain name. It costs a call nothing, where asking whether an event loop runs would
    cost a sixth of an async call (Python 3.11).
    """

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        plain = str(self)
        if sys._getframe(1).f_code.co_name != "_warn_unawaited_coroutine":
            return format(plain, spec)
        short = plain.rpartition(".")[2]
        return f"{plain} (async: write `await {short}(...)`, or in sync code asyncio.run({short}(...)))"
