"""Canonical bytes of values: equal values give one encoding, different ones two, whatever else may be said of them.

The oracle is `identity`: what a value is, as nested tuples of type names and plain values, compared with ``==``.
"""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import itertools
import json
import math
import pathlib
import pickle
import random
import re
import socket
import sys
import threading
import uuid
import weakref
import zoneinfo
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.cache._encode import encode, encode_arguments, register_key
from eagerly.cache._encode_walk import record
from eagerly.errors import OptionTypeError, OptionValueError, UnkeyableArgument


def key(value: Any) -> bytes:
    return encode(value, "argument 'x'")


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Shade(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


class Pair(NamedTuple):
    x: int
    y: int


class Name(str):
    __slots__ = ()


class Meters(float):
    pass


class Stack(list[Any]):
    pass


class Bag(set[Any]):
    pass


class Table(dict[Any, Any]):
    pass


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


@dataclasses.dataclass
class User:
    name: str
    age: int = 0
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass
class Guest:
    name: str
    age: int = 0
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: Any


@dataclasses.dataclass
class Rows(list[Any]):
    name: str


def rows(*items: Any) -> Rows:
    made = Rows("a")
    made.extend(items)
    return made


class Lazy:
    def __init__(self, radius: float) -> None:
        self.radius = radius

    @functools.cached_property
    def area(self) -> float:
        return self.radius * self.radius * math.pi


def looked_at(lazy: Lazy) -> Lazy:
    assert lazy.area > 0
    return lazy


def interned(text: str) -> str:
    return sys.intern("".join(text))


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NOON = dt.datetime(2024, 5, 1, 12)

EQUAL: list[tuple[str, Any, Any]] = [
    ("dict built in another order", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ("set built in another order", {8, 0, 16}, {16, 8, 0}),
    ("set that has shrunk", set(range(1000)) - set(range(3, 1000)), {0, 1, 2}),
    ("frozenset of strings", frozenset("abcdef"), frozenset("fedcba")),
    ("interned and joined strings", ["abc", "abc"], [interned("abc"), "".join(["a", "bc"])]),
    ("the same object twice and two equal ones", [[1], [1]], [[1]] * 2),
    ("NaN", float("nan"), -float("nan")),
    ("NaN in a list", [float("nan")] * 20, [math.inf - math.inf] * 20),
    ("big ints", 10**50, int("1" + "0" * 50)),
    ("Counter built in another order", collections.Counter("aab"), collections.Counter("baa")),
    ("defaultdict", collections.defaultdict(list, a=1, b=2), collections.defaultdict(list, b=2, a=1)),
    ("paths written differently", pathlib.Path("a//b/./c"), pathlib.Path("a") / "b" / "c"),
    ("attributes set in another order", Plain(a=1, b=2), Plain(b=2, a=1)),
    ("an object that was looked at", Lazy(2.0), looked_at(Lazy(2.0))),
    ("partial with keywords in another order", functools.partial(int, a=1, b=2), functools.partial(int, b=2, a=1)),
    (
        "time zones by one name",
        NOON.replace(tzinfo=BERLIN),
        NOON.replace(tzinfo=zoneinfo.ZoneInfo.no_cache("Europe/Berlin")),
    ),
    ("patterns", re.compile("a+", re.IGNORECASE), re.compile("a+", re.IGNORECASE)),
    ("decimals", decimal.Decimal("1.50"), decimal.Decimal((0, (1, 5, 0), -2))),
    ("fractions", fractions.Fraction(2, 4), fractions.Fraction("0.5")),
    ("a random generator in one state", random.Random(3), pickle.loads(pickle.dumps(random.Random(3)))),
    ("views on the same bytes", memoryview(b"abcd")[::2], memoryview(b"ac")),
    ("flags", Access.READ | Access.WRITE, Access(3)),
    ("a set of a user's class", Bag([1, 2, 16, 8]), Bag([8, 16, 2, 1])),
    ("a slice of an array", array.array("i", [1, 2, 3])[1:], array.array("i", [2, 3])),
]

DIFFERENT: list[tuple[str, Any, Any]] = [
    ("int and bool", 1, True),
    ("int and float", 1, 1.0),
    ("int and str", 1, "1"),
    ("bool and float", True, 1.0),
    ("int and IntEnum", 1, Level.LOW),
    ("int and Decimal", 1, decimal.Decimal(1)),
    ("int and Fraction", 1, fractions.Fraction(1)),
    ("float and complex", 1.0, 1 + 0j),
    ("zero and minus zero", 0.0, -0.0),
    ("zeros in a complex", complex(0.0, 0.0), complex(0.0, -0.0)),
    ("float and a subclass", 1.0, Meters(1.0)),
    ("str and a subclass", "a", Name("a")),
    ("str and bytes", "a", b"a"),
    ("bytes and bytearray", b"a", bytearray(b"a")),
    ("bytes and memoryview", b"a", memoryview(b"a")),
    ("list and tuple", [1], (1,)),
    ("list and a subclass", [1], Stack([1])),
    ("tuple and namedtuple", (1, 2), Point(1, 2)),
    ("two namedtuples", Pair(1, 2), Point(1, 2)),
    ("set and frozenset", {1}, frozenset({1})),
    ("dict and OrderedDict", {"a": 1}, collections.OrderedDict(a=1)),
    ("dict and a subclass", {"a": 1}, Table(a=1)),
    ("dict and defaultdict", {"a": 1}, collections.defaultdict(None, a=1)),
    ("defaultdicts of two factories", collections.defaultdict(list), collections.defaultdict(dict)),
    ("OrderedDicts in two orders", collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
    ("items that move between lists", [["a"], ["b", "c"]], [["a", "b"], ["c"]]),
    ("strings that move between items", ["ab", "c"], ["a", "bc"]),
    ("strings that move between many items", ["ab", "c"] * 20, ["a", "bc"] * 20),
    ("None and the empty string", None, ""),
    ("None and the word", None, "None"),
    ("empty list and empty tuple", [], ()),
    ("empty dict and empty set", {}, set()),
    ("naive and aware", NOON, NOON.replace(tzinfo=dt.UTC)),
    (
        "one instant in two zones",
        NOON.replace(tzinfo=dt.UTC),
        NOON.replace(tzinfo=dt.UTC).astimezone(BERLIN),
    ),
    ("the two hours when clocks are set back", NOON, NOON.replace(fold=1)),
    ("zones with an empty name and none", dt.timezone(dt.timedelta(hours=1), ""), dt.timezone(dt.timedelta(hours=1))),
    ("date and midnight", dt.date(2024, 5, 1), dt.datetime(2024, 5, 1)),
    ("decimals of two precisions", decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    ("decimals that are no numbers", decimal.Decimal("NaN"), decimal.Decimal("sNaN")),
    ("members of two enums", Color.RED, Shade.RED),
    ("members of one enum", Color.RED, Color.BLUE),
    ("dataclasses with the same fields", User("a"), Guest("a")),
    ("a field that does not compare", User("a", note="x"), User("a", note="y")),
    ("an attribute beside the fields", User("a"), dataclasses.replace(User("a"))),
    ("a slot that is empty or None", object.__new__(Frozen), Frozen(None)),
    ("items beside the fields", rows(1), rows(2)),
    ("path and str", pathlib.PurePosixPath("a"), "a"),
    ("two kinds of paths", pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    ("UUID and its int", uuid.UUID(int=1), 1),
    ("patterns with flags", re.compile("a"), re.compile("a", re.IGNORECASE)),
    ("patterns of text and bytes", re.compile("a"), re.compile(b"a")),
    ("ranges", range(3), range(0, 3, 2)),
    ("range and list", range(3), [0, 1, 2]),
    ("partials", functools.partial(int, "1"), functools.partial(int, "2")),
    ("lone surrogates", "\ud83d\ude00", "\U0001f600"),
    ("deques with and without an end", collections.deque([1], 2), collections.deque([1])),
    ("arrays of two types", array.array("b", [1]), array.array("B", [1])),
    ("exceptions of two classes", ValueError("a"), TypeError("a")),
    ("random generators in two states", random.Random(1), random.Random(2)),
    ("a key that is an int or a str", {1: "a"}, {"1": "a"}),
    ("Ellipsis and NotImplemented", ..., NotImplemented),
    ("values of slots", Slotted(1, 2), Slotted(2, 1)),
    ("timedelta and seconds", dt.timedelta(seconds=1), 1),
    ("slices", slice(1, 2), slice(1, 2, 1)),
    ("classes and their names", int, "int"),
    ("two builtin functions", len, sum),
    ("a method of two owners", "a".upper, "b".upper),
]
vars(next(pair for pair in DIFFERENT if pair[0] == "an attribute beside the fields")[2])["extra"] = 1


@pytest.mark.parametrize(("one", "other"), [pytest.param(a, b, id=name) for name, a, b in EQUAL])
def test_equal_values_have_one_encoding(one: Any, other: Any) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(("one", "other"), [pytest.param(a, b, id=name) for name, a, b in DIFFERENT])
def test_different_values_have_two_encodings(one: Any, other: Any) -> None:
    assert key(one) != key(other)
    assert key([one]) != key([other])
    assert key({"k": one}) != key({"k": other})


def test_no_two_values_of_all_have_one_encoding() -> None:
    values = [value for _, *pair in DIFFERENT for value in pair]
    groups: dict[bytes, list[Any]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    for same in groups.values():
        assert len({type(value) for value in same}) == 1, same


# --- hypothesis ---


def identity(value: Any) -> Any:
    """What a value is. Slow and obvious."""
    kind = type(value).__name__
    if kind == "float":
        return (kind, "nan" if math.isnan(value) else value.hex())
    if kind in ("list", "tuple", "deque"):
        return (kind, tuple(identity(item) for item in value))
    if kind in ("set", "frozenset"):
        return (kind, multiset(identity(item) for item in value))
    if kind in ("dict", "Counter"):
        return (kind, multiset((identity(k), identity(v)) for k, v in value.items()))
    if kind == "OrderedDict":
        return (kind, tuple((identity(k), identity(v)) for k, v in value.items()))
    if kind == "Decimal":
        return (kind, str(value))
    if kind in ("datetime", "time"):
        return (kind, value.isoformat(), value.fold)
    if kind == "User":
        return (kind, multiset((k, identity(v)) for k, v in vars(value).items()))
    if kind == "Point":
        return (kind, identity(value.x), identity(value.y))
    return (kind, value)


def multiset(items: Any) -> Any:
    return frozenset(collections.Counter(items).items())


FEW_INTS = st.sampled_from(
    [0, 1, -1, 2, 255, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), 10**30]
)
FEW_FLOATS = st.sampled_from([0.0, -0.0, 1.0, 0.1, math.nan, -math.nan, math.inf, -math.inf, 5e-324])
FEW_TEXTS = st.sampled_from(["", "a", "b", "ab", "1", "é", "\x00", "\ud800", "\ud83d\ude00", "😀"])
HASHABLE_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    FEW_INTS,
    FEW_FLOATS,
    FEW_TEXTS,
    st.sampled_from([b"", b"a", b"1"]),
    st.sampled_from([0j, 1 + 0j, complex(-0.0, 0.0)]),
    st.sampled_from([decimal.Decimal(1), decimal.Decimal("1.0"), decimal.Decimal("-0")]),
    st.sampled_from([dt.date(2024, 1, 1), NOON, NOON.replace(fold=1), dt.time(1), dt.timedelta(1), range(2), ...]),
)
RUNS = st.one_of(
    *(st.lists(items, min_size=14, max_size=20) for items in (FEW_INTS, FEW_FLOATS, FEW_TEXTS)),
    st.lists(st.sampled_from([0, 1, True, False, 1.0, "1"]), min_size=14, max_size=20),
    st.lists(st.integers(), min_size=14, max_size=20),
)
HASHABLE = st.recursive(
    HASHABLE_SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
VALUES = st.recursive(
    st.one_of(HASHABLE, RUNS, RUNS.map(tuple), RUNS.map(set), RUNS.map(lambda run: dict.fromkeys(run, 1))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(collections.deque),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3).map(collections.OrderedDict),
        st.sets(HASHABLE, max_size=4),
        st.builds(User, inner, inner),
        st.builds(Point, inner, inner),
    ),
    max_leaves=6,
)
LIKE_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(st.text(), inner, max_size=20)),
)

thorough = settings(derandomize=True, deadline=None, max_examples=100)


def rebuilt(value: Any) -> Any:
    """An equal value that shares nothing that can be helped, with another order where that means nothing."""
    kind = type(value)
    if kind in (list, tuple, collections.deque):
        return kind([rebuilt(item) for item in value])
    if kind in (set, frozenset):
        return kind(reversed([rebuilt(item) for item in value]))
    if kind in (dict, collections.OrderedDict):
        pairs = [(rebuilt(k), rebuilt(v)) for k, v in value.items()]
        return kind(pairs[::-1] if kind is dict else pairs)
    if kind is str:
        return "".join([*value])
    if kind is float:
        return float(repr(value))
    if kind is User:
        copied = User("", 0)
        for name, item in reversed(vars(value).items()):
            del copied.__dict__[name]
            copied.__dict__[name] = rebuilt(item)
        return copied
    return copy.deepcopy(value)


@thorough
@given(VALUES, VALUES)
def test_two_values_share_an_encoding_exactly_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (key(one) == key(other)) == (identity(one) == identity(other))


@thorough
@given(st.lists(st.one_of(HASHABLE, st.lists(HASHABLE_SCALARS, max_size=3)), min_size=10, max_size=10))
def test_among_many_small_values_no_two_are_taken_for_one_another(values: list[Any]) -> None:
    for one, other in itertools.combinations(values, 2):
        assert (key(one) == key(other)) == (identity(one) == identity(other))


@thorough
@given(RUNS, RUNS)
def test_packed_runs_are_told_apart(one: list[Any], other: list[Any]) -> None:
    assert (key(one) == key(other)) == (identity(one) == identity(other))
    changed = [*one[:-1], other[0]]
    assert (key(one) == key(changed)) == (identity(one) == identity(changed))


@thorough
@given(VALUES)
def test_an_equal_value_built_otherwise_has_the_same_encoding(value: Any) -> None:
    other = rebuilt(value)
    assert identity(value) == identity(other)
    assert key(value) == key(other)


@thorough
@given(VALUES)
def test_a_pickle_round_trip_changes_nothing(value: Any) -> None:
    for protocol in (4, 5):  # older ones lose `fold`
        assert key(pickle.loads(pickle.dumps(value, protocol))) == key(value)


@thorough
@given(LIKE_JSON)
def test_a_json_round_trip_changes_nothing(value: Any) -> None:
    assert key(json.loads(json.dumps(value))) == key(value)


@pytest.mark.parametrize("odd", [True, 1.0, "1", None, Level.LOW, 2**63, 2**40, b"x", [1]], ids=repr)
@pytest.mark.parametrize("place", [0, 7, 25, 50, 99])
def test_one_odd_item_in_a_long_run_is_seen(odd: Any, place: int) -> None:
    for run in ([1] * 100, [1.0] * 100, ["1"] * 100):
        other = [*run[:place], odd, *run[place + 1 :]]
        assert (key(run) == key(other)) == (identity(run) == identity(other))


def test_items_that_take_as_much_room_as_a_number_are_seen() -> None:
    like_ints = [1, b"", bytearray(), array.array("b"), ""]
    like_floats = [1.0, b"abcd", bytearray(b"abcd"), array.array("b", b"abcd"), "abcd"]
    for odds in (like_ints, like_floats):
        assert len({key([odds[0]] * 30 + [odd] + [odds[0]] * 40) for odd in odds}) == len(odds)


def test_parts_of_a_record_do_not_run_together() -> None:
    assert record("a", b"x", b"yz") != record("a", b"xy", b"z")
    assert record("a", b"", b"x") != record("a", b"x", b"") != record("a", b"x")
    assert record("ab", b"c") != record("a", b"bc")


def test_an_ordered_long_dict_differs_from_an_unordered_one() -> None:
    names = [str(number) for number in range(100)]
    backwards = dict.fromkeys(reversed(names), 0)
    assert key(dict.fromkeys(names, 0)) == key(backwards)
    assert key(collections.OrderedDict.fromkeys(names, 0)) != key(collections.OrderedDict(backwards))


def test_values_of_a_long_dict_stay_with_their_keys() -> None:
    assert key({str(n): n for n in range(100)}) != key({str(n): 99 - n for n in range(100)})


# --- arguments ---


def test_arguments_come_in_the_order_of_the_mapping() -> None:
    encoded = encode_arguments({"b": 1, "a": "x", "c": None})
    assert [name for name, _ in encoded] == ["b", "a", "c"]
    assert [raw for _, raw in encoded] == [key(1), key("x"), key(None)]


def test_ignored_arguments_are_not_looked_at() -> None:
    assert encode_arguments({"conn": threading.Lock(), "a": 1}, ["conn"]) == [("a", key(1))]


# --- refusals ---


def path_of(value: Any) -> str:
    with pytest.raises(UnkeyableArgument) as caught:
        encode_arguments({"a": 1, "conn": value})
    assert str(caught.value).startswith(caught.value.path + " is of type ")
    return caught.value.path


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        (LOCK, ""),
        ([0, 1, 2, LOCK], " -> [3]"),
        ({"key": LOCK}, " -> ['key']"),
        ({f"k{n:02}": LOCK if n == 17 else n for n in range(30)}, " -> ['k17']"),
        ({1: LOCK}, " -> [1]"),
        (Plain(lock=LOCK), " -> .lock"),
        (User(LOCK), " -> .name"),
        (Slotted(1, LOCK), " -> .b"),
        (Frozen([{"a": LOCK}]), " -> .a -> [0] -> ['a']"),
        (Point(1, LOCK), " -> [1]"),
        (functools.partial(int, LOCK), " -> .args -> [0]"),
        (Stack([1, LOCK]), " -> [1]"),
        (Table(a=LOCK), " -> ['a']"),
        (collections.OrderedDict(a=LOCK), " -> ['a']"),
        (collections.deque([LOCK]), " -> [0]"),
        (slice(None, LOCK), " -> .stop"),
        ({(1, 2): LOCK}, " -> [key of type tuple]"),
        ({"k" * 100: LOCK}, f" -> ['{'k' * 36}...]"),
    ],
)
def test_a_refusal_names_the_path(value: Any, steps: str) -> None:
    assert path_of(value) == "argument 'conn'" + steps


def test_a_refusal_names_the_ways_out() -> None:
    with pytest.raises(UnkeyableArgument) as caught:
        encode_arguments({"conn": Plain(lock=LOCK)})
    message = str(caught.value)
    assert "_thread.lock" in message
    for way_out in ("cache_ignore=('conn',)", "cache_hash=", "register_key(", "__cache_key__"):
        assert way_out in message


async def coroutine() -> None: ...


UNKEYABLE = {
    "lock": lambda: LOCK,
    "reentrant lock": threading.RLock,
    "generator": lambda: (n for n in ()),
    "iterator of a list": lambda: iter([1]),
    "iterator of a dict": lambda: iter({1: 2}),
    "zip": lambda: zip([1], [2], strict=True),
    "file": lambda: pathlib.Path(__file__).open("rb"),  # noqa: SIM115 - the test closes it
    "socket": socket.socket,
    "object": object,
    "weak reference": lambda: weakref.ref(Plain),
    "frame": sys._getframe,
    "view of a dict": lambda: {}.keys(),
    "property": property,
    "thread-local": threading.local,
    "named nowhere": lambda: OddReduce("nowhere"),
}


@pytest.mark.parametrize("kind", UNKEYABLE)
def test_what_has_no_contents_is_refused(kind: str) -> None:
    value = UNKEYABLE[kind]()
    assert path_of(value) == "argument 'conn'"
    assert path_of([value]) == "argument 'conn' -> [0]"
    getattr(value, "close", int)()


def test_a_coroutine_is_refused() -> None:
    running = coroutine()
    assert path_of(running) == "argument 'conn'"
    running.close()


def cyclic_list() -> Any:
    cyclic: list[Any] = [1]
    cyclic.append({"self": cyclic})
    return cyclic


def cyclic_object() -> Any:
    parent = Plain(name="p")
    parent.child = Plain(parent=parent)
    return parent


def cyclic_user() -> Any:
    user = User("a")
    user.name = [user]  # type: ignore[assignment]
    return user


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (cyclic_list(), "argument 'conn' -> [1] -> ['self']"),
        (cyclic_object(), "argument 'conn' -> .child -> .parent"),
        (cyclic_user(), "argument 'conn' -> .name -> [0]"),
    ],
)
def test_a_cycle_is_refused_with_its_path(value: Any, path: str) -> None:
    assert path_of(value) == path


def test_what_is_shared_is_no_cycle() -> None:
    shared = Plain(a=[1])
    assert key([shared, shared, {"a": shared}]) == key([Plain(a=[1]), Plain(a=[1]), {"a": Plain(a=[1])}])


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_values_have_a_key_or_are_refused(depth: int) -> None:
    value: Any = []
    for _ in range(depth):
        value = [value]
    if depth > sys.getrecursionlimit():
        with pytest.raises(UnkeyableArgument, match="nested too deeply"):
            key(value)
    else:
        assert key(value) != key(value[0])


class Hostile:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def fail(self, *_: Any) -> Any:
        raise self.error

    __eq__ = __hash__ = __repr__ = __str__ = __bool__ = __len__ = __iter__ = fail  # type: ignore[assignment]


class BadReduce(Hostile):
    __reduce_ex__ = Hostile.fail


class BadState(Hostile):
    __getstate__ = Hostile.fail


class BadKey(Hostile):
    __cache_key__ = Hostile.fail


class OddReduce:
    def __init__(self, reduced: Any) -> None:
        self.reduced = reduced

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.reduced


class ByAddress:
    def __reduce__(self) -> Any:
        return int, (id(self),)


@pytest.mark.parametrize("cls", [BadReduce, BadState, BadKey])
@pytest.mark.parametrize(
    "error", [ValueError("no"), RecursionError(), MemoryError(), UnkeyableArgument("inner"), SystemError()]
)
def test_errors_of_the_users_methods_are_refusals(cls: type[Hostile], error: Exception) -> None:
    with pytest.raises(UnkeyableArgument) as caught:
        encode_arguments({"conn": [cls(error)]})
    assert caught.value.__cause__ is error
    assert caught.value.path.startswith("argument 'conn'")


def test_what_is_no_exception_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        key([BadReduce(KeyboardInterrupt())])


def test_no_other_method_of_the_user_is_called() -> None:
    assert key(Hostile(ValueError("a"))) == key(Hostile(ValueError("a")))


@pytest.mark.parametrize("reduced", [None, 3, "nowhere", (), (int,), (1, 2, 3, 4, 5, 6, 7), (int, 5)])
def test_odd_reduced_forms_are_refused(reduced: Any) -> None:
    assert path_of(OddReduce(reduced)).startswith("argument 'conn'")


def test_an_address_is_refused() -> None:
    assert path_of(ByAddress()) == "argument 'conn'"


# --- what stands for a value ---


class Connection:
    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()

    def __cache_key__(self) -> Any:
        return self.url


class Pool(Connection): ...


class Handle:
    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()


class SubHandle(Handle): ...


class OwnHandle(Handle):
    def __cache_key__(self) -> Any:
        return "own"


def test_cache_key_stands_for_the_instance() -> None:
    assert key(Connection("a")) == key(Connection("a"))
    assert len({key(value) for value in (Connection("a"), Connection("b"), Pool("a"), "a")}) == 4


def test_cache_key_that_cannot_be_keyed_is_refused() -> None:
    assert path_of(Connection([LOCK])) == "argument 'conn' -> [0]"  # type: ignore[arg-type]


def test_registered_keys_hold_for_subclasses_and_the_nearest_class_wins() -> None:
    assert path_of(Handle(1)) == "argument 'conn' -> .lock"
    register_key(Handle, lambda handle: handle.number)
    assert key(Handle(1)) == key(Handle(1)) != key(Handle(2))
    assert key(SubHandle(1)) not in (key(Handle(1)), key(SubHandle(2)))
    assert key(OwnHandle(1)) == key(OwnHandle(2))
    register_key(SubHandle, lambda _: 0)
    assert key(SubHandle(1)) == key(SubHandle(2))
    register_key(OwnHandle, lambda handle: handle.number)
    assert key(OwnHandle(1)) != key(OwnHandle(2))


def test_what_is_registered_is_checked() -> None:
    with pytest.raises(OptionTypeError, match="is a class"):
        register_key("Handle", len)  # type: ignore[type-var, arg-type]
    with pytest.raises(OptionTypeError, match="is a function"):
        register_key(Handle, 3)  # type: ignore[arg-type]
    for builtin in (int, list, object, dt.datetime):
        with pytest.raises(OptionValueError, match="builtin"):
            register_key(builtin, id)


def test_classes_are_not_kept_alive() -> None:
    cls = type("Brief", (), {"__cache_key__": lambda self: 1, "__module__": __name__, "__qualname__": "Brief"})
    globals()["Brief"] = cls
    assert key(cls())
    del globals()["Brief"]
    gone = weakref.ref(cls)
    del cls
    gc.collect()
    assert gone() is None
