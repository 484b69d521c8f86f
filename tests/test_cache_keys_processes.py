"""One value, one encoding in every process: whatever the hash seed, and after a pickle round trip.

All kinds of value are encoded by two fresh processes, which report at once.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import io
import ipaddress
import json
import logging
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest

from eagerly.cache._encode import encode, register_encoder

HERE = pathlib.Path(__file__)


class Color(enum.Enum):
    RED = "red"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: str


@dataclasses.dataclass
class User:
    name: str
    tags: set[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    tags: frozenset[str]


@attrs.define
class Order:
    number: int
    tags: set[str]


@attrs.frozen(cache_hash=True)
class Hashed:
    number: int


class Model(pydantic.BaseModel):
    name: str
    tags: set[str] = set()
    _seen: int = pydantic.PrivateAttr(default=3)


class Plain:
    def __init__(self) -> None:
        self.tags = set(WORDS)
        self.when = dt.date(2024, 1, 1)


class Slots:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a, self.b = set(WORDS), dict.fromkeys(WORDS, 1)


class Names(set[str]):
    pass


class WithKey:
    def __cache_key__(self) -> Any:
        return set(WORDS)


WORDS = [f"word {number}" for number in range(12)]
MANY = [f"word {number}" for number in range(40)]
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def hashed() -> Hashed:
    made = Hashed(1)
    hash(made)
    return made


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"n": [1, 2], "t": ["a", None], "c": pd.Categorical(["x", "y"]), "d": pd.to_datetime(["2024-01-01", None])}
    )


KINDS: dict[str, Callable[[], Any]] = {
    "scalars": lambda: [None, True, 1, 10**40, 1.5, float("nan"), 1j, "a", "\ud800", b"b", ..., NotImplemented],
    "bytearray": lambda: bytearray(b"a"),
    "list": lambda: [WORDS, tuple(WORDS)],
    "set of strings": lambda: set(WORDS),
    "long set of strings": lambda: set(MANY),
    "frozenset of tuples": lambda: frozenset((word, 1) for word in WORDS),
    "set of many kinds": lambda: {1, "a", None, (1, "b"), frozenset("cd"), 2.5, b"e", Color.RED},
    "set of a class": lambda: Names(WORDS),
    "dict": lambda: dict.fromkeys(set(WORDS), 1),
    "long dict": lambda: dict.fromkeys(set(MANY), 1),
    "dict of sets": lambda: {frozenset("ab"): {"c", "d"}},
    "OrderedDict": lambda: collections.OrderedDict(a=1, b=2),
    "defaultdict": lambda: collections.defaultdict(list, {word: [1] for word in set(WORDS)}),
    "Counter": lambda: collections.Counter(set(WORDS)),
    "deque": lambda: collections.deque(WORDS, 20),
    "array": lambda: array.array("d", [1.5]),
    "namedtuple": lambda: Point(1, "a"),
    "enum": lambda: Color.RED,
    "flags": lambda: Access.READ | Access.WRITE,
    "dataclass": lambda: User("a", set(WORDS)),
    "frozen dataclass with slots": lambda: Frozen(frozenset(WORDS)),
    "attrs": lambda: Order(1, set(WORDS)),
    "attrs with a cached hash": hashed,
    "pydantic": lambda: Model(name="a", tags=set(WORDS)),
    "object": Plain,
    "object with slots": Slots,
    "object with a key": WithKey,
    "namespace": lambda: types.SimpleNamespace(a=set(WORDS)),
    "exception": lambda: ValueError("a", set(WORDS)),
    "exception group": lambda: ExceptionGroup("a", [KeyError("b")]),
    "datetime": lambda: dt.datetime(2024, 5, 1, 12, tzinfo=BERLIN),
    "date, time, timedelta": lambda: [dt.date(2024, 5, 1), dt.time(1, tzinfo=dt.UTC), dt.timedelta(1, 2, 3)],
    "timezone": lambda: [dt.UTC, dt.timezone(dt.timedelta(hours=1), "CET")],
    "Decimal": lambda: decimal.Decimal("1.50"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "UUID": lambda: uuid.UUID(int=5),
    "path": lambda: pathlib.Path("a/b"),
    "address": lambda: ipaddress.ip_address("10.0.0.1"),
    "pattern": lambda: re.compile("a+", re.IGNORECASE),
    "range and slice": lambda: [range(1, 5, 2), slice(1, None)],
    "partial": lambda: functools.partial(int, base=2),
    "builtin functions": lambda: [len, str.join, "a".upper],
    "classes": lambda: [int, Plain, Color, list[int], int | None],
    "random generator": lambda: random.Random(1),
    "logger": lambda: logging.getLogger("a.b"),
    "BytesIO": lambda: io.BytesIO(b"abc"),
    "NumPy array": lambda: np.arange(6.0).reshape(2, 3),
    "NumPy array in Fortran order": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "NumPy array of objects": lambda: np.array([set(WORDS), None, "a"], dtype=object),
    "NumPy structured array": lambda: np.array([(1, 2.0)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "NumPy strings": lambda: [np.array(["a", "bc"]), np.array(["a", "bc"], dtype=np.dtypes.StringDType())],
    "NumPy dates": lambda: np.array(["2024-01-01", "NaT"], dtype="M8[s]"),
    "NumPy masked array": lambda: np.ma.masked_array([1, 2], mask=[False, True]),
    "NumPy masked array in Fortran order": lambda: np.ma.masked_array(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    "NumPy scalars": lambda: [
        np.int64(1),
        np.float32(1.5),
        np.bool_(True),
        np.longlong(2),
        np.longdouble(3),
        np.str_("a"),
    ],
    "NumPy dtypes": lambda: [np.dtype("f4"), np.dtype([("a", "i4")]), np.dtype("M8[ns]")],
    "NumPy generator": lambda: np.random.default_rng(1),
    "NumPy RandomState": lambda: np.random.RandomState(1),
    "pandas frame": frame,
    "pandas index": lambda: [
        frame().index,
        frame().columns,
        pd.date_range("2024", periods=3),
        pd.MultiIndex.from_product([[1], ["a"]]),
    ],
    "pandas scalars": lambda: [
        pd.Timestamp("2024", tz="UTC"),
        pd.Timedelta(5),
        pd.Period("2024"),
        pd.NaT,
        pd.NA,
        pd.Interval(0, 1),
    ],
    "pandas nullable arrays": lambda: [pd.array([1, None], dtype="Int64"), pd.array([True, None], dtype="boolean")],
    "polars frame": lambda: pl.DataFrame({"a": [1, None], "b": ["x", None], "c": [[1], []], "d": [{"e": 1}, None]}),
    "polars dtypes": lambda: [pl.List(pl.Int64), pl.Enum(["a", "b"]), pl.Datetime("us", "UTC")],
    "Arrow table": lambda: pa.table({"a": [1, None], "b": ["x", None], "c": [[1], None], "d": [{"e": 1}, None]}),
    "Arrow types": lambda: [pa.list_(pa.int64()), pa.schema({"a": pa.string()}), pa.scalar(5)],
}
UNPICKLED = {"builtin functions"}
"""Whose pickle is not the same thing: Python makes another function of it."""


def report() -> dict[str, list[str]]:
    """Digests of each kind: as it was made, and as it comes out of a pickle."""
    found: dict[str, list[str]] = {}
    for name, make in KINDS.items():
        values = [make(), pickle.loads(pickle.dumps(make(), 5))]
        found[name] = [hashlib.sha256(encode(value, f"argument {name!r}")).hexdigest() for value in values]
    return found


@pytest.fixture(scope="module")
def reports() -> list[dict[str, list[str]]]:
    def start(seed: str) -> subprocess.Popen[str]:
        code = "import json, test_cache_keys_processes as t; print(json.dumps(t.report()))"
        paths = os.pathsep.join([str(HERE.parent), *sys.path])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)

    processes = [start("1"), start("4711")]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output) for output in outputs]


@pytest.mark.parametrize("kind", KINDS)
def test_processes_agree(kind: str, reports: list[dict[str, list[str]]]) -> None:
    one, other = (report[kind][0] for report in reports)
    assert one == other


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_round_trip_changes_nothing(kind: str, reports: list[dict[str, list[str]]]) -> None:
    made, unpickled = reports[0][kind]
    assert made == unpickled


def test_kinds_are_told_apart(reports: list[dict[str, list[str]]]) -> None:
    assert len({digests[0] for digests in reports[0].values()}) == len(KINDS)


def test_what_encodes_functions_and_classes_can_be_registered() -> None:
    code = """if True:
        import functools, types
        from eagerly.cache._encode import encode, register_encoder
        from eagerly.cache._encode_walk import record
        from eagerly.errors import UnkeyableArgument

        def function(): ...
        class Local: ...
        class Methods:
            def method(self): ...
        class Meta(type): ...
        class Made(metaclass=Meta): ...
        def factory():
            class Inner: ...
            return Inner

        for value in (function, factory()(), functools.partial(function).func, Methods().method):
            try:
                encode(value, "argument 'f'")
            except UnkeyableArgument as error:
                assert error.path == "argument 'f'", error
            else:
                raise SystemExit(f"{value} has a key")
        before = encode(Local(), "x"), encode(Made, "x")
        by_code = lambda f, walk: record("function", f.__code__.co_code, walk(f.__defaults__))
        register_encoder(types.FunctionType, by_code)
        register_encoder(type, lambda cls, walk: record("class!", cls.__qualname__.encode()))
        encode(function, "x"), encode(factory()(), "x"), encode(factory(), "x")
        after = encode(Local(), "x"), encode(Made, "x")
        assert not set(before) & set(after)
        Local.default = Local()  # a class that has an instance of itself
        register_encoder(type, lambda cls, walk: record("class!", walk(vars(cls).get("default"), ".default")))
        encode(Local(), "x"), encode(Local, "x")
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert callable(register_encoder)


def test_nothing_optional_is_imported() -> None:
    code = """if True:
        import sys
        from eagerly.cache._encode import encode_arguments
        class numpy: ...
        encode_arguments({"a": [1, "b", {"c": 2.0}], "n": numpy()})
        heavy = {"numpy", "pandas", "polars", "pyarrow", "pydantic", "attrs", "attr", "concurrent.futures", "asyncio"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
