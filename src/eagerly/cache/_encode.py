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

import keyword
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from eagerly.cache._code_owner import class_is_own
from eagerly.cache._encode_arrays import resolve_numpy
from eagerly.cache._encode_arrow import resolve_arrow
from eagerly.cache._encode_pandas import resolve_pandas
from eagerly.cache._encode_polars import resolve_polars
from eagerly.cache._encode_records import LIBRARIES, forget_resolved, key_functions, resolve
from eagerly.cache._encode_references import named_global
from eagerly.cache._encode_sentinels import DefaultOf
from eagerly.cache._encode_walk import HANDLERS, Handler, Refused, Walk, failure, guarded, set_resolver
from eagerly.errors import OptionTypeError, OptionValueError, UnkeyableArgument

__all__ = ["encode", "encode_arguments", "register_encoder", "register_key"]

T = TypeVar("T")

ARGUMENT: Final = re.compile(r"argument '(\w+)'")
SHOWN_STEPS: Final = 8
"""How many steps of a path an error shows at each of its ends."""

LIBRARIES.update(numpy=resolve_numpy, pandas=resolve_pandas, polars=resolve_polars, pyarrow=resolve_arrow)
set_resolver(resolve)
QUALNAME: Final[Any] = type.__dict__["__qualname__"]
MODULE: Final[Any] = type.__dict__["__module__"]
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


def encode_arguments(
    inputs: Mapping[str, Any], ignore: Collection[str] = (), defaults: Mapping[str, Any] | None = None
) -> list[tuple[str, bytes]]:
    """The canonical bytes of each argument, in the order of `inputs`.

    Args:
        inputs: The arguments of a call by their names.
        ignore: The names of those to leave out.
        defaults: The defaults of the parameters. An argument that is one of them and a bare `object()`, which has no
            content that could be told, counts as that default.

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
        # Not of other types: what a default with a connection in it leads to may be something else tomorrow.
        if defaults is not None and type(value) is object and defaults.get(name) is value:
            return encode_arguments({**inputs, name: DefaultOf(name)}, (), defaults)
        raise _unkeyable(error, f"argument {name!r}", value, name == next(iter(inputs))) from _cause(error)
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


def _unkeyable(error: Exception, path: str, value: Any, first: bool = False) -> UnkeyableArgument:
    steps: list[str] = []
    cls, holders = type(value), list[type]()
    if isinstance(error, Refused):
        reason, cls, steps, holders = error.reason, error.cls, error.steps[::-1], error.holders
    elif isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    else:
        reason = f"reading it {failure(error)}"
    if len(steps) > 2 * SHOWN_STEPS:
        steps[SHOWN_STEPS:-SHOWN_STEPS] = ["..."]
    argument = ARGUMENT.match(path)
    path = " -> ".join([path, *steps])
    what = f"{_module(cls)}.{_name(cls)}".removeprefix("builtins.")
    ways = [_stand_in([cls, *holders, type(value)]), "make the whole key yourself with cache_hash="]
    # Without its object a method gives the results of one object to all.
    if argument and not (first and argument[1] in ("self", "cls")):
        ignore = f"cache_ignore=({argument[1]!r},)"
        ways.insert(1, f"leave the argument out of the key with {ignore} if it makes no difference to the result")
    return UnkeyableArgument(
        f"{path} is of type {what}, which cannot be part of a cache key: {reason}. Either {', or '.join(ways)}",
        path=path,
    )


def _stand_in(classes: list[type]) -> str:
    """What to do about a refused value, of the class that comes first; then those of what it is in, from the inside."""
    for cls in classes:
        if _is_own(cls):
            name = _name(cls)
            if _is_stood_in_for(cls):
                return f"let what stands for a {name} in keys be something that can be part of one"
            return f"say what stands for a {name} with a method {name}.__cache_key__ or {_registering(name)}"
    if classes[0] is object:
        return "give it an UPPER_CASE name in its module, or use a member of an Enum in its place"
    for cls in reversed(classes):
        if _can_be_registered(cls):
            return f"say what stands for a {_name(cls)} with {_registering(_name(cls))}"
    return "pass something else"


def _registering(name: str) -> str:
    instance = name.rpartition(".")[2].strip("_").lower()
    return f"register_key({name}, lambda {'each' if keyword.iskeyword(instance) else instance}: ...)"


# Nothing here is asked of a class itself, whose metaclass may be what has failed.


def _name(cls: type) -> str:
    return str(QUALNAME.__get__(cls)).rpartition("<locals>.")[2]


def _module(cls: type) -> str:
    module = MODULE.__get__(cls)
    return module if type(module) is str else "?"


def _is_own(cls: type) -> bool:
    try:
        return class_is_own(cls)
    except Exception:
        return False


def _is_stood_in_for(cls: type) -> bool:
    try:
        return any(base in key_functions or "__cache_key__" in vars(base) for base in cls.__mro__)
    except Exception:
        return False


def _can_be_registered(cls: type) -> bool:
    """Whether it is a class of a library under a public name. To register all locks of a program would do harm."""
    module = _module(cls)
    return (
        not module.startswith("_")
        and not any(cls is builtin for builtin in BUILTIN)
        and named_global(module, _name(cls)) is cls
        and module != "builtins"
    )
