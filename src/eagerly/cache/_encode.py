"""Canonical bytes of values, for the keys of cached calls: equal values give one encoding, different ones never do.

Internal interface for the encoding of functions and classes: ``register_encoder(exact_type, handler)`` with
``handler(value, walk) -> bytes`` as described in `_encode_walk`, which has `Walk`, `Refused` and `record`. The handler
of `type` is also asked for the class of every instance that is encoded, and for classes with a metaclass.

Nothing here uses `repr`, `str`, JSON or the bytes of pickle, and nothing imports an optional library: what is of such
a library is known by the module that its class names.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from eagerly.cache._encode_arrays import resolve_numpy
from eagerly.cache._encode_arrow import resolve_arrow
from eagerly.cache._encode_pandas import resolve_pandas
from eagerly.cache._encode_polars import resolve_polars
from eagerly.cache._encode_records import LIBRARIES, forget_resolved, key_functions, resolve
from eagerly.cache._encode_walk import HANDLERS, Handler, Refused, Walk, guarded, set_resolver
from eagerly.errors import OptionTypeError, OptionValueError, UnkeyableArgument

__all__ = ["encode", "encode_arguments", "register_encoder", "register_key"]

T = TypeVar("T")

ARGUMENT: Final = re.compile(r"argument '(\w+)'")
SHOWN_STEPS: Final = 8
"""How many steps of a path an error shows at each of its ends."""

LIBRARIES.update(numpy=resolve_numpy, pandas=resolve_pandas, polars=resolve_polars, pyarrow=resolve_arrow)
set_resolver(resolve)
BUILTIN: Final = frozenset(HANDLERS)
"""The types whose encoding is part of that of others, so that it cannot be replaced for some."""


def encode(value: Any, path: str) -> bytes:
    """The canonical bytes of `value`.

    Args:
        value: Anything.
        path: What it is called in errors, such as ``argument 'conn'``.

    Raises:
        UnkeyableArgument: Something in it cannot be part of a key.
    """
    try:
        return HANDLERS[type(value)](value, Walk())
    except Exception as error:
        raise _unkeyable(error, path, value) from _cause(error)


def encode_arguments(inputs: Mapping[str, Any], ignore: Collection[str] = ()) -> list[tuple[str, bytes]]:
    """The canonical bytes of each argument, in the order of `inputs`.

    Args:
        inputs: The arguments of a call by their names.
        ignore: The names of those to leave out.

    Raises:
        UnkeyableArgument: An argument cannot be part of a key.
    """
    walk = Walk()
    name, value = "", None
    try:
        if ignore:
            inputs = {name: value for name, value in inputs.items() if name not in ignore}
        encoded: list[tuple[str, bytes]] = []
        for name, value in inputs.items():
            encoded.append((name, HANDLERS[type(value)](value, walk)))
    except Exception as error:
        raise _unkeyable(error, f"argument {name!r}", value) from _cause(error)
    return encoded


def register_key(cls: type[T], function: Callable[[T], Any]) -> None:
    """Say what stands for the instances of a class in the keys of cached calls.

    A class of your own can say it itself, with a method `__cache_key__`. The nearest class in the method resolution
    order counts; where one has both, what is registered does.

    Args:
        cls: A class. Instances of its subclasses are meant too, and differ from those of the class itself.
        function: Is given an instance and returns something that has a key and stands for it, such as a tuple.

    Raises:
        OptionTypeError: `cls` is no class, or `function` cannot be called.
        OptionValueError: `cls` is a builtin whose contents are the key already.

    Example:
        >>> class Connection:
        ...     def __init__(self, url):
        ...         self.url = url
        >>> register_key(Connection, lambda connection: connection.url)
    """
    if not isinstance(cls, type):
        raise OptionTypeError(f"register_key({cls!r}, ...): the first argument is a class, not {type(cls).__name__}")
    if not callable(function):
        raise OptionTypeError(
            f"register_key({cls.__qualname__}, {function!r}): the second argument is a function that is given an "
            f"instance and returns what stands for it in a key, for example a tuple of its fields"
        )
    if cls in BUILTIN or cls is object:
        raise OptionValueError(
            f"register_key({cls.__qualname__}, ...): the contents of a builtin are its key; register a class of yours, "
            f"or make the key of one task with cache_hash="
        )
    key_functions[cls] = function
    forget_resolved()


def register_encoder(exact_type: type, handler: Handler) -> None:
    """Let `handler` encode the values whose type is `exact_type`."""
    HANDLERS[exact_type] = guarded(handler)
    forget_resolved()


def _cause(error: Exception) -> BaseException | None:
    return error.__cause__ if isinstance(error, Refused) else error


def _unkeyable(error: Exception, path: str, value: Any) -> UnkeyableArgument:
    if isinstance(error, Refused):
        reason, cls, steps = error.reason, error.cls, error.steps[::-1]
    elif isinstance(error, RecursionError):
        reason, cls, steps = "it is nested too deeply", type(value), []
    else:
        reason, cls, steps = f"reading it failed with {type(error).__name__}", type(value), []
    if len(steps) > 2 * SHOWN_STEPS:
        steps[SHOWN_STEPS:-SHOWN_STEPS] = ["..."]
    argument = ARGUMENT.match(path)
    path = " -> ".join([path, *steps])
    what = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    leave = f"leave the argument out of the key with cache_ignore=({argument[1]!r},), " if argument else ""
    stand_in = f"say what stands for it with register_key({cls.__qualname__}, ...) or a method __cache_key__"
    if cls in BUILTIN:
        stand_in = "pass something else"
    return UnkeyableArgument(
        f"{path} is of type {what}, which cannot be part of a cache key: {reason}. Either {leave}make the key "
        f"yourself with cache_hash=, or {stand_in}",
        path=path,
    )
