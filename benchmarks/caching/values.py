"""Values for keys, as data: pairs that are equal, pairs that are not, and kinds that every process should key alike.

Each pair is made afresh by a function, so that nothing is shared by accident. What needs NumPy is left out without it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import importlib.util
import pickle
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["DIFFERENT", "EQUAL", "KINDS", "Kind", "Pair"]


class Pair(NamedTuple):
    name: str
    make: Callable[[], tuple[Any, Any]]


class Kind(NamedTuple):
    name: str
    make: Callable[[], Any]


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


@dataclasses.dataclass
class Place:
    x: Any
    y: Any = None


class Plain:
    """Its attributes are all there is."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> None:
        pass


class Terse:
    """Looks the same whatever it holds."""

    def __init__(self, secret: int) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Terse()"


class Named(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


def double(x: Any) -> Any:
    return 2 * x


def scaled(factor: Any) -> Callable[[Any], Any]:
    return lambda x: factor * x


def defaulted(default: Any) -> Callable[..., Any]:
    def function(x: Any = default) -> Any:
        return x

    return function


def _text(text: str) -> str:
    """An equal string that is another object."""
    return "".join(list(text))


def _pair(*items: int) -> tuple[int, ...]:
    """A tuple that the compiler has not made."""
    return items


def _set_of_text() -> set[str]:
    return {"north", "east", "south", "west", "up", "down"}


def _shrunk() -> set[int]:
    numbers = set(range(1000))
    numbers -= set(range(1000)) - {64, 1, 130}
    return numbers


def _reordered() -> tuple[Any, Any]:
    first, second = Plain(a=1, b=2), Plain(b=2, a=1)
    return first, second


def _array(*arguments: Any, **options: Any) -> Any:
    import numpy as np

    return np.array(*arguments, **options)


def _numbers(count: int = 12) -> Any:
    import numpy as np

    return np.arange(count, dtype=np.float64)


def _read_only() -> tuple[Any, Any]:
    array = _numbers()
    array.flags.writeable = False
    return array, _numbers()


def _one_changed() -> tuple[Any, Any]:
    array = _numbers(100_000)
    array[50_000] += 1
    return array, _numbers(100_000)


def _masked(mask: list[bool]) -> Any:
    import numpy as np

    return np.ma.masked_array([1.0, 2.0, 3.0], mask=mask)


_DAY = dt.datetime(2024, 3, 31, 1, 30)
_EAST = dt.timezone(dt.timedelta(hours=2))

_EQUAL: tuple[Pair, ...] = (
    Pair("dict, in another order", lambda: ({"a": 1, "b": 2}, {"b": 2, "a": 1})),
    Pair("dict within a list, in another order", lambda: ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}])),
    Pair("set, built in another order", lambda: ({0, 8, 16, 24}, {24, 16, 8, 0})),
    Pair("frozenset, built in another order", lambda: (frozenset([0, 8]), frozenset([8, 0]))),
    Pair("set, small or shrunk", lambda: ({64, 1, 130}, _shrunk())),
    Pair(
        "one string twice, or two strings",
        lambda: ((text := _text("north pole"), text), ("north pole", _text("north pole"))),
    ),
    Pair("one bytes twice, or two", lambda: ([data := bytes([1, 2, 3]), data], [bytes([1, 2, 3]), bytes([1, 2, 3])])),
    Pair("one tuple twice, or two", lambda: ([pair := _pair(1, 2), pair], [_pair(1, 2), _pair(1, 2)])),
    Pair("one large int twice, or two", lambda: ([big := int("9" * 40), big], [int("9" * 40), int("9" * 40)])),
    Pair("string like an attribute's name", lambda: (Point("x"), Point(_text("x")))),
    Pair("object, attributes set in another order", _reordered),
    Pair(
        "object, through pickle", lambda: (Plain(a="b", b=_text("b")), pickle.loads(pickle.dumps(Plain(a="b", b="b"))))
    ),
    Pair("NaN, made twice", lambda: (float("nan"), float("nan"))),
    Pair("Decimal, read or computed", lambda: (Decimal("0.30"), Decimal("0.10") + Decimal("0.20"))),
    Pair("partial, made twice", lambda: (functools.partial(double, 1), functools.partial(double, 1))),
    Pair("closure, made twice", lambda: (scaled(2), scaled(2))),
)

_EQUAL_ARRAYS: tuple[Pair, ...] = (
    Pair("array, and its copy", lambda: ((array := _numbers()), array.copy())),
    Pair("array, every second item or a copy of that", lambda: (_numbers()[::2], _numbers()[::2].copy())),
    Pair("array, part of a larger one or its copy", lambda: (_numbers()[2:6], _numbers()[2:6].copy())),
    Pair("array, read-only or writable", _read_only),
    Pair("array, in C or Fortran order", lambda: (_numbers().reshape(3, 4), _numbers().reshape(3, 4).copy(order="F"))),
)

_DIFFERENT: tuple[Pair, ...] = (
    Pair("1 and True", lambda: (1, True)),
    Pair("1 and 1.0", lambda: (1, 1.0)),
    Pair("1 and '1'", lambda: (1, "1")),
    Pair("0.0 and -0.0", lambda: (0.0, -0.0)),
    Pair("'a' and b'a'", lambda: ("a", b"a")),
    Pair("bytes and bytearray", lambda: (b"a", bytearray(b"a"))),
    Pair("list and tuple", lambda: ([1, 2], (1, 2))),
    Pair("set and frozenset", lambda: ({1, 2}, frozenset({1, 2}))),
    Pair("[1] and [True]", lambda: ([1], [True])),
    Pair("{1} and {True}", lambda: ({1}, {True})),
    Pair("{1: 'a'} and {'1': 'a'}", lambda: ({1: "a"}, {"1": "a"})),
    Pair("['ab', 'c'] and ['a', 'bc']", lambda: (["ab", "c"], ["a", "bc"])),
    Pair("['a, b'] and ['a', 'b']", lambda: (["a, b"], ["a", "b"])),
    Pair("dict and OrderedDict", lambda: ({"a": 1}, OrderedDict(a=1))),
    Pair("range and list", lambda: (range(3), [0, 1, 2])),
    Pair("composed and decomposed letters", lambda: ("\u00e9", "e\u0301")),
    Pair("string and string class of one's own", lambda: ("a", Named("a"))),
    Pair("datetime, naive and aware", lambda: (_DAY, _DAY.replace(tzinfo=dt.UTC))),
    Pair(
        "one moment in two time zones",
        lambda: (_DAY.replace(tzinfo=dt.UTC), _DAY.replace(tzinfo=dt.UTC).astimezone(_EAST)),
    ),
    Pair("datetime, first and second time round", lambda: (_DAY, _DAY.replace(fold=1))),
    Pair("Decimal 1.0 and 1.00", lambda: (Decimal("1.0"), Decimal("1.00"))),
    Pair("Fraction and float", lambda: (Fraction(1, 2), 0.5)),
    Pair("UUID and its text", lambda: (uuid.UUID(int=1), str(uuid.UUID(int=1)))),
    Pair("path and its text", lambda: (Path("a/b"), "a/b")),
    Pair("enum member and its value", lambda: (Colour.RED, "red")),
    Pair("IntEnum member and int", lambda: (Level.LOW, 1)),
    Pair("dataclasses of two classes", lambda: (Point(1, 2), Place(1, 2))),
    Pair("objects that look alike", lambda: (Terse(1), Terse(2))),
    Pair("lambdas with another constant", lambda: (lambda x: x + 1, lambda x: x + 2)),
    Pair("closures over other values", lambda: (scaled(2), scaled(3))),
    Pair("functions with other defaults", lambda: (defaulted(1), defaulted(2))),
    Pair("partials with other arguments", lambda: (functools.partial(double, 1), functools.partial(double, 2))),
)

_DIFFERENT_ARRAYS: tuple[Pair, ...] = (
    Pair("array and list", lambda: (_array([1, 2]), [1, 2])),
    Pair("NumPy's 1 and 1", lambda: (_array([1])[0], 1)),
    Pair("arrays of float32 and float64", lambda: (_array([1.0], "f4"), _array([1.0], "f8"))),
    Pair("arrays of 2 x 3 and 3 x 2", lambda: (_numbers(6).reshape(2, 3), _numbers(6).reshape(3, 2))),
    Pair("array, little- and big-endian", lambda: (_array([1], "<i4"), _array([1], ">i4"))),
    Pair("large arrays, one item differs", _one_changed),
    Pair("days and seconds", lambda: (_array([1], "M8[D]"), _array([1], "M8[s]"))),
    Pair("masked arrays, another mask", lambda: (_masked([True, False, False]), _masked([False, False, True]))),
)

_KINDS: tuple[Kind, ...] = (
    Kind("int", lambda: 1),
    Kind("large int", lambda: 10**40),
    Kind("float", lambda: 0.1),
    Kind("NaN", lambda: float("nan")),
    Kind("str", lambda: "north"),
    Kind("bytes", lambda: b"north"),
    Kind("tuple", lambda: (1, "a", None)),
    Kind("nested list", lambda: [[1, [2.0]], ["a"]]),
    Kind("dict", lambda: {"b": 1, "a": [2]}),
    Kind("set of str", _set_of_text),
    Kind("frozenset of str", lambda: frozenset(_set_of_text())),
    Kind("set of tuples", lambda: {(text, len(text)) for text in _set_of_text()}),
    Kind("dict of sets", lambda: {"names": _set_of_text()}),
    Kind("dataclass with a set", lambda: Point(_set_of_text())),
    Kind("object with a set", lambda: Plain(names=_set_of_text())),
    Kind("enum member", lambda: Colour.BLUE),
    Kind("datetime", lambda: _DAY.replace(tzinfo=_EAST)),
    Kind("Decimal", lambda: Decimal("0.1")),
    Kind("UUID", lambda: uuid.UUID(int=7)),
    Kind("path", lambda: Path("a/b")),
    Kind("pattern", lambda: re.compile("a+")),
    Kind("function", lambda: double),
    Kind("lambda", lambda: lambda x: x + 1),
    Kind("closure over a set", lambda: scaled(_set_of_text())),
    Kind("partial with a set", lambda: functools.partial(double, _set_of_text())),
    Kind("bound method", lambda: Plain(names=frozenset(_set_of_text())).method),
    Kind("function that tests membership", lambda: _is_direction),
)


def _is_direction(word: str) -> bool:
    return word in {"north", "east", "south", "west", "up", "down"}


_HAS_NUMPY = importlib.util.find_spec("numpy") is not None

EQUAL = _EQUAL + (_EQUAL_ARRAYS if _HAS_NUMPY else ())
"""Equal values, built differently: they should have one key."""

DIFFERENT = _DIFFERENT + (_DIFFERENT_ARRAYS if _HAS_NUMPY else ())
"""Values that a function can tell apart: they should have two."""

KINDS = _KINDS
"""Values that should have one key in all processes, whatever the seed of their hashes."""
