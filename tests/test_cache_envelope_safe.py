"""`safe=True`: what has a safe format comes back exactly; what has none is refused with its type and place."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import subprocess
import sys
import textwrap
from collections import Counter, OrderedDict, namedtuple
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.cache._codec import RAW, SAFE, TEXT
from eagerly.cache._envelope import Envelopes
from eagerly.errors import CacheError, MissingExtraError

KEY = b"k" * 20
SAFELY = Envelopes(safe=True)


def round_trip(value: object, *, mapped: bool = False) -> Any:
    data: Any = b"".join(SAFELY.pack(KEY, value))
    assert SAFELY.peek(data).codec in (RAW, TEXT, SAFE)
    unpacked = SAFELY.unpack(KEY, bytearray(data) if mapped else data, now=0.0)
    assert unpacked is not None
    return unpacked.value


def same(left: Any, right: Any) -> bool:
    """Equal and of the same type all the way down; NaN is NaN, -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(mine, theirs) for mine, theirs in zip(left.items(), right.items(), strict=True)
        )
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and same(sorted(left, key=repr), sorted(right, key=repr))
    if isinstance(left, datetime):
        return (left.replace(tzinfo=None), left.fold, left.tzinfo) == (
            right.replace(tzinfo=None),
            right.fold,
            right.tzinfo,
        )
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, Decimal):
        return left.as_tuple() == right.as_tuple()
    return bool(left == right)


OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
ZONES = OFFSETS | st.just(UTC) | st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), ZoneInfo("Etc/GMT+5")])
WALL = st.datetimes(timezones=st.none() | OFFSETS) | st.datetimes(
    datetime(1990, 1, 1), datetime(2030, 1, 1), timezones=ZONES
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**300), 2**300)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(codec=None))
    | st.binary()
    | st.dates()
    | WALL
    | st.times(timezones=st.none() | OFFSETS)
    | st.timedeltas()
    | OFFSETS
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.fractions()
    | st.uuids()
    | st.builds(range, st.integers(), st.integers(), st.integers().filter(bool))
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(PurePosixPath)
    | st.sampled_from([PureWindowsPath("c:/a"), PureWindowsPath("//h/s/x"), Path("a"), Path("/"), Path()])
)
VALUES = st.recursive(
    HASHABLE | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(HASHABLE, inner)
        | st.sets(HASHABLE)
        | st.frozensets(HASHABLE)
    ),
    max_leaves=10,
)


@given(value=VALUES)
@settings(derandomize=True, max_examples=150, deadline=None)
def test_plain_data_comes_back_equal_and_of_the_same_type(value: object) -> None:
    again = round_trip(value)
    assert same(again, value), again


EXTREMES: list[Any] = [
    *(2**100_000, -(2**64), 255, 256, -256, 127, 128, -128, -129),
    *(5e-324, 1.7976931348623157e308, float("inf"), -0.0, complex(-0.0, float("-inf"))),
    *("x" * 254, "x" * 255, "x" * 256, "x" * 4095, "x" * 4096, "é" * 100_000, "\ud800\udfff\0"),
    *(b"x" * 4095, b"x" * 4096, bytearray(4095), bytearray(100_000)),
    *([0] * 254, [0] * 255, (None,) * 100_000, dict.fromkeys(range(1000)), set(range(1000))),
    *(Decimal("1.00"), Decimal("-0"), Decimal("NaN123"), Decimal("1e999999"), Decimal("Infinity"), Decimal(1) / 7),
    *(datetime.max, datetime.min, timedelta.max, timedelta.min, UUID(int=2**128 - 1)),
    *(datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), timezone(timedelta(hours=1), "név")),
    *(timezone(timedelta(seconds=1)), Fraction(2**30_000, 3), range(2**100, 0, -3)),
]


@pytest.mark.parametrize("number", range(len(EXTREMES)))
@pytest.mark.parametrize("mapped", [False, True])
def test_extremes(number: int, mapped: bool) -> None:
    again = round_trip(EXTREMES[number], mapped=mapped)
    assert same(again, EXTREMES[number])


def test_a_signaling_nan() -> None:
    assert repr(round_trip(Decimal("sNaN7"))) == "Decimal('sNaN7')"


def test_utc_is_the_one_there_is() -> None:
    assert round_trip(UTC) is UTC
    assert round_trip(timezone(timedelta(0), "Z")).tzname(None) == "Z"


def test_depth() -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    assert round_trip(value) == value
    with pytest.raises(CacheError, match="list and nested more than 100 deep, or contains itself"):
        SAFELY.pack(KEY, [value])
    value = {}
    value["self"] = [value, value]
    with pytest.raises(CacheError, match="contains itself"):
        SAFELY.pack(KEY, value)


# --- what has no safe format -----------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int = 0


Pair = namedtuple("Pair", "a b")


class Zone(tzinfo):
    def utcoffset(self, _at: Any) -> timedelta:
        return timedelta(0)


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Color.RED, r"^result is of type \S+\.Color, .* return its \.value"),
        ([1, Level.LOW], r"^result\[1\] is of type \S+\.Level, .* return its \.value"),
        ({"rows": [(0, Point())]}, r"^result\['rows'\]\[0\]\[1\] is of type \S+\.Point, .* dataclasses\.asdict\(\)"),
        ({(1, Point): 2}, r"^a key of result\[1\] is of type type,"),
        ([{Color.RED}], r"^an item of result\[0\] is of type"),
        (Pair(1, 2), r"^result is of type \S+\.Pair, .* return the plain builtin"),
        (OrderedDict(a=1), r"collections\.OrderedDict, .* plain builtin"),
        (Counter("a"), r"collections\.Counter, .* plain builtin"),
        (type("Text", (str,), {})("x"), "plain builtin"),
        ({"f": len}, r"^result\['f'\] is of type builtin_function_or_method"),
        (
            object(),
            r"type object, which safe=True cannot store: return plain data, an array or a table, or .* signing_key=",
        ),
        (ValueError("x"), "ValueError"),
        (
            [datetime(2020, 1, 1, tzinfo=Zone())],
            r"^result\[0\] is of type datetime\.datetime, .* its time zone is of type Zone",
        ),
        (Fraction(1, 2**40_000), "more than 4096 bytes above or below"),
        ({2**100_000: object()}, r"^result\[<int>\] is of type object"),
        ({"x" * 100: object()}, r"^result\['x{56}\.\.\.\] is of type object"),
        (CYCLE, "contains itself"),
        (np.array([object()]), "it holds Python objects"),
        (np.zeros(2, [("a", "i4"), ("b", object)]), "it holds Python objects"),
        (np.array(["a"], np.dtypes.StringDType()), "it holds Python objects"),
        (np.zeros(3, "V0"), "its elements have no bytes"),
        (np.ma.array([1]), "MaskedArray"),
        (np.zeros(2).view(np.recarray), "recarray"),
        (np.dtype("i4"), "Int32DType"),
        (pd.Timestamp("2020"), "Timestamp"),
        (
            pd.DataFrame({"a": [object()]}),
            r"DataFrame, .* a column or index of dtype object has something else than strings",
        ),
        (pd.DataFrame({"a": [[1]]}), "something else than strings"),
        (pd.DataFrame({"a": [1, 2]}, index=pd.Index([1, "x"])), "something else than strings"),
        (pd.DataFrame({"p": pd.period_range("2020", periods=2)}), "Arrow extension type"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Arrow does not take it .*Duplicate column names"),
        (pl.DataFrame({"a": [object()]}), "does not come back from Arrow exactly"),
        (pl.LazyFrame({"a": [1]}), "LazyFrame"),
        (pa.array([1]), "Int64Array"),
    ],
)
def test_what_has_no_safe_format(value: object, message: str) -> None:
    with pytest.raises(CacheError, match=message):
        SAFELY.pack(KEY, value)


def test_no_room_on_the_stack_is_a_cache_error() -> None:
    value: list[Any] = []
    for _ in range(90):
        value = [value]
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 50)
        with pytest.raises(CacheError, match="RecursionError"):
            SAFELY.pack(KEY, value)
    finally:
        sys.setrecursionlimit(limit)


def test_an_error_in_one_value_leaves_nothing_behind() -> None:
    with pytest.raises(CacheError):
        SAFELY.pack(KEY, [[[object()]]])
    assert round_trip([[[1]]]) == [[[1]]]


# --- NumPy -----------------------------------------------------------------------------------------------------------

DTYPES = [
    *("?", "i1", "<u2", ">i4", "<i8", "f2", "<f4", ">f8", "longdouble", "<c8", "c16", "S3", "<U5", ">U2", "V4"),
    *("<M8[ns]", ">M8[D]", "m8[25s]"),
]
SHAPES: list[tuple[int, ...]] = [(), (0,), (5,), (3, 0, 2), (40, 60), (2, 3, 4), (1,) * 32]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mapped", [False, True])
def test_arrays(dtype: str, order: Any, mapped: bool) -> None:
    for shape in SHAPES:
        value = np.empty(shape, dtype, order)
        raw = np.random.default_rng(1).integers(0, 2 if dtype == "?" else 100, value.nbytes, "u1").tobytes()
        if "U" not in dtype:
            value = np.ndarray(shape, value.dtype, bytearray(raw), order=order)
        again = round_trip(value, mapped=mapped)
        assert type(again) is np.ndarray
        assert (again.dtype, again.shape, again.tobytes("A")) == (value.dtype, value.shape, value.tobytes("A"))
        assert again.flags.f_contiguous == value.flags.f_contiguous
        assert again.flags.writeable


def test_views_are_stored_as_what_they_show() -> None:
    base = np.arange(10_000).reshape(100, 100)
    for view in (base[::2], base[:, ::-1], base.T, base[3], base[5:5], np.broadcast_to(base[0], (3, 100))):
        again = round_trip(view)
        np.testing.assert_array_equal(again, view)
        assert again.flags.writeable == view.flags.writeable


@pytest.mark.parametrize(
    "dtype",
    [
        [("a", "<i4"), ("b", ">f8", (2, 3))],
        [(("title", "a"), "<i4"), ("b", [("c", "S2"), ("d", "<M8[s]")])],
        np.dtype([("x", "i1"), ("y", "f8")], align=True),
        np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [2, 10], "itemsize": 20}),
    ],
    ids=["shaped", "nested", "aligned", "offsets"],
)
def test_records(dtype: Any) -> None:
    value = np.zeros(700, dtype)
    value[1] = value[0]
    again = round_trip(value)
    assert again.dtype == value.dtype
    assert again.tobytes() == value.tobytes()
    scalar = round_trip(value[0])
    assert type(scalar) is np.void
    assert scalar == value[0]


SCALARS = [
    *(np.bool_(True), np.int8(-1), np.uint64(2**64 - 1), np.float16(1.5), np.float64("nan"), np.longdouble(1) / 3),
    *(np.complex64(1j), np.str_("é"), np.str_(""), np.bytes_(b"x"), np.datetime64("2020"), np.datetime64("NaT", "s")),
    *(np.timedelta64(5, "m"), np.void(b"abc")),
]


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_numpy_scalars(value: Any) -> None:
    again = round_trip([value])[0]
    assert type(again) is type(value)
    assert (again.dtype, again.tobytes()) == (value.dtype, value.tobytes())


# --- tables ----------------------------------------------------------------------------------------------------------

FRAMES: dict[str, pd.DataFrame] = {
    "numbers": pd.DataFrame({"a": [1.0, float("nan")], "b": [1, 2], "c": [True, False]}),
    "text": pd.DataFrame({"s": ["x", None], "t": ["", "é"]}),
    "times": pd.DataFrame(
        {"d": pd.to_datetime(["2020", None]), "z": pd.to_datetime(["2020", "2021"]).tz_localize("UTC")}
    ),
    "deltas": pd.DataFrame({"t": pd.to_timedelta([1, 2], "s")}),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", "b", "a"], ["b", "a", "z"], ordered=True)}),
    "nullable": pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="f4")}),
    "no names": pd.DataFrame([[1, 2], [3, 4]]),
    "index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="i")),
    "dates": pd.DataFrame({"a": range(3)}, index=pd.date_range("2020", periods=3, freq="D", name="day")),
    "levels": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["n", None])),
    "column levels": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
    "large": pd.DataFrame({"a": np.arange(10_000.0), "b": np.arange(10_000)}),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("mapped", [False, True])
def test_pandas_frames(frame: pd.DataFrame, mapped: bool) -> None:
    again = round_trip(frame, mapped=mapped)
    pd.testing.assert_frame_equal(again, frame, check_exact=True, check_freq=True)
    assert type(again.columns) is type(frame.columns)


def test_pandas_series_and_attributes() -> None:
    series = pd.Series([1.5, 2.5], name=("a", 1), index=pd.date_range("2020", periods=2))
    series.attrs = {"unit": ("m", 1)}
    again = round_trip({"s": series})["s"]
    pd.testing.assert_series_equal(again, series, check_freq=True)
    assert again.attrs == {"unit": ("m", 1)}
    series.attrs["where"] = Color.RED
    with pytest.raises(CacheError, match="Color"):
        SAFELY.pack(KEY, series)


def test_polars() -> None:
    frame = pl.DataFrame(
        {
            "a": [1, None, 3],
            "f": [float("nan"), 1.0, None],
            "c": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "e": pl.Series(["x", None, "x"], dtype=pl.Enum(["x", "z"])),
            "l": [[1], [], None],
            "s": [{"u": 1}, {"u": 2}, {"u": None}],
            "d": [datetime(2020, 1, 1), None, datetime(2021, 1, 1)],
        }
    )
    for value in (frame, pl.DataFrame(), frame["a"], frame["l"].alias("")):
        again = round_trip([value])[0]
        assert type(again) is type(value)
        assert again.equals(value)
    assert round_trip(frame).schema == frame.schema
    assert round_trip(frame["f"]).name == "f"


def test_arrow() -> None:
    table = pa.table({"a": [1, None], "s": ["x", "y"], "d": pa.array(["u", "v"]).dictionary_encode()})
    table = table.replace_schema_metadata({"who": "me"})
    batch = pa.RecordBatch.from_pydict({"a": [1, 2]})
    for value in (table, pa.table({}), table.slice(0, 0), pa.concat_tables([table, table]), batch, batch.slice(0, 0)):
        again = round_trip(value)
        assert type(again) is type(value)
        assert again.equals(value, check_metadata=True)


MISSING = """
    import sys
    from pathlib import Path
    from eagerly.cache._envelope import Envelopes
    from eagerly.errors import CorruptEntryError, MissingExtraError

    envelopes = Envelopes(safe=True)
    sys.modules["pyarrow"] = None  # as if it were not installed
    try:
        envelopes.unpack(b"k" * 20, Path(sys.argv[1]).read_bytes(), now=0.0)
    except CorruptEntryError as error:
        print(type(error.__cause__).__name__, "pyarrow" in str(error))
    import pandas
    try:
        envelopes.pack(b"k" * 20, pandas.DataFrame({"a": [1]}))
    except MissingExtraError as error:
        print(error)
"""


def test_without_pyarrow(tmp_path: Path) -> None:
    (tmp_path / "entry").write_bytes(b"".join(SAFELY.pack(KEY, pa.table({"a": [1]}))))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MISSING), tmp_path / "entry"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines == [
        "ModuleNotFoundError True",
        "to store a pandas object with safe=True needs pyarrow, which is not installed: pip install pyarrow",
    ], done.stderr
    assert issubclass(MissingExtraError, ImportError)


def test_plain_data_imports_no_library() -> None:
    script = """
        import sys
        from eagerly.cache._envelope import Envelopes

        envelopes = Envelopes(safe=True)
        data = b"".join(envelopes.pack(b"k", {"a": [1, "x", 2.5, None]}))
        assert envelopes.unpack(b"k", data, now=0.0).value == {"a": [1, "x", 2.5, None]}
        print(sorted({"numpy", "pandas", "polars", "pyarrow", "cloudpickle", "zoneinfo"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
