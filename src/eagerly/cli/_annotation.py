"""Which conversion belongs to an annotation: types, and the forms of `typing`, to `Conversion` objects."""

from __future__ import annotations

import collections
import collections.abc
import enum
import types
import typing
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import PurePath
from typing import Any, Final, Literal

from eagerly.cli._conversion import Anything, Choice, Conversion, Record, Scalar, Several, Truth, Union

__all__ = ["UnsupportedAnnotationError", "conversion_of"]


class UnsupportedAnnotationError(TypeError):
    """No word can be turned into what the annotation says."""


_LISTS: Final[dict[Any, tuple[str, Callable[[list[Any]], Any]]]] = {
    list: ("list", list),
    set: ("set", set),
    frozenset: ("set", frozenset),
    collections.deque: ("list", collections.deque),
    collections.abc.Sequence: ("list", list),
    collections.abc.MutableSequence: ("list", list),
    collections.abc.Collection: ("list", list),
    collections.abc.Iterable: ("list", list),
    collections.abc.Set: ("set", set),
    collections.abc.MutableSet: ("set", set),
}
_RECORDS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_BY_CALL: Final = {
    "decimal.Decimal": "a decimal number",
    "fractions.Fraction": "a fraction",
    "uuid.UUID": "a UUID",
    "builtins.complex": "a complex number",
}
"""Types that are called with the word, by name: whoever annotates with one has imported it, we need not."""


def conversion_of(annotation: Any) -> Conversion:
    """What `annotation` makes of words.

    Args:
        annotation: A type or a form of `typing`, not a string. `Any` stands for none.

    Raises:
        UnsupportedAnnotationError: Nothing that can be written on a command line.
    """
    annotation = _bare(annotation)
    if not isinstance(annotation, collections.abc.Hashable):
        raise _unsupported(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _literal(arguments)
    if origin in (typing.Union, types.UnionType):
        some = [conversion_of(member) for member in arguments if member is not types.NoneType]
        return Union(some, or_none=len(some) < len(arguments))
    kind = annotation if origin is None else origin
    if typing.is_typeddict(kind):
        return Record(Conversion(), Anything())
    if kind is tuple or kind in _LISTS:
        return _several(kind, arguments)
    if kind in _RECORDS:
        key, value = arguments or (Any, Any)
        return Record(conversion_of(key), conversion_of(value))
    if origin is None:
        return _plain(annotation)
    raise _unsupported(annotation)


def _bare(annotation: Any) -> Any:
    """`annotation` without what only names, marks or generalises a type."""
    while True:
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing.TypeVar):
            several = annotation.__constraints__
            annotation = typing.Union[several] if several else annotation.__bound__ or Any  # noqa: UP007  # a tuple
        elif type(annotation).__name__ == "TypeAliasType":  # `type X = ...` of Python 3.12
            annotation = annotation.__value__
        elif typing.get_origin(annotation) in (typing.Annotated, typing.Final):
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation


def _plain(kind: Any) -> Conversion:
    if kind in (Any, object, types.NoneType):
        return Anything()
    if isinstance(kind, type):
        for base, make in _PLAIN:
            if issubclass(kind, base):
                return make(kind)
        noun = _BY_CALL.get(f"{kind.__module__}.{kind.__qualname__}")
        if noun is not None:
            return Scalar(noun, kind.__name__.upper(), lambda word: kind(str(word)), (str, int, float))
    raise _unsupported(kind)


def _enumeration(kind: Any) -> Choice:
    names = {name: member for name, member in kind.__members__.items() if member.name == name}
    others = [(str(member.value), member) for member in names.values()]
    return Choice(names, [*others, *kind.__members__.items()], kind.__name__.upper())


_PLAIN: Final[tuple[tuple[type, Callable[[Any], Conversion]], ...]] = (
    (enum.Enum, _enumeration),
    (bool, lambda _: Truth()),
    (int, lambda kind: Scalar("an integer", "INT", kind, (int,))),
    (float, lambda kind: Scalar("a number", "FLOAT", kind, (int, float))),
    (str, lambda kind: Conversion() if kind is str else Scalar("a string", "TEXT", kind)),
    (bytes, lambda kind: Scalar("bytes", "TEXT", lambda word: kind(word.encode()))),
    (PurePath, lambda kind: Scalar("a path", "PATH", kind)),
    (datetime, lambda kind: Scalar("a date and time in ISO format", "DATETIME", kind.fromisoformat)),
    (date, lambda kind: Scalar("a date in ISO format", "DATE", kind.fromisoformat)),
    (time, lambda kind: Scalar("a time in ISO format", "TIME", kind.fromisoformat)),
    (
        timedelta,
        lambda kind: Scalar("a number of seconds", "SECONDS", lambda word: kind(seconds=float(word)), (int, float)),
    ),
)
"""Types and their subclasses; the first that fits counts, so a type stands before those it derives from."""


def _literal(values: Sequence[Any]) -> Choice:
    names = {value.name if isinstance(value, enum.Enum) else str(value): value for value in values}
    return Choice(names, (), "CHOICE")


def _several(kind: Any, arguments: tuple[Any, ...]) -> Several:
    if kind is not tuple:
        name, make = _LISTS[kind]
        return Several(name, make, [conversion_of(arguments[0] if arguments else Any)])
    if not arguments:
        return Several("tuple", tuple, [Anything()])
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return Several("tuple", tuple, [conversion_of(arguments[0])])
    return Several("tuple", tuple, [conversion_of(argument) for argument in arguments], fixed=True)


def _unsupported(annotation: Any) -> UnsupportedAnnotationError:
    name = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    return UnsupportedAnnotationError(f"no word of a command line can be turned into {name}")
