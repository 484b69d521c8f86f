"""Values of NumPy, pandas, polars, Arrow, attrs, pydantic: what they hold is the key, not how they came to hold it."""

from __future__ import annotations

import functools
import threading
from typing import Any, Generic, TypeVar

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.cache._encode import encode, encode_arguments, register_key
from eagerly.errors import UnkeyableArgument

T = TypeVar("T")


def key(value: Any) -> bytes:
    return encode(value, "argument 'x'")


class Signal(np.ndarray[Any, Any]):
    rate: int


def signal(rate: int) -> Signal:
    made = np.arange(3).view(Signal)
    made.rate = rate
    return made


def padded(padding: int) -> Any:
    dtype = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    raw = np.full(2 * dtype.itemsize, padding, "u1")
    made = raw.view(dtype)
    made["a"], made["b"] = 1, 2
    return made


def masked(hidden: int) -> Any:
    return np.ma.masked_array([1, hidden], mask=[False, True], fill_value=9)


@attrs.define
class Order:
    number: int
    note: str = attrs.field(default="", eq=False)

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.number


@attrs.define
class Costly:
    number: int

    @functools.cached_property
    def never(self) -> int:
        raise AssertionError("the encoding must not compute it")


@attrs.define(slots=False)
class Loose:
    number: int


@attrs.frozen(cache_hash=True)
class Hashed:
    number: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True)

    a: int = 1
    b: Any = None
    _private: int = pydantic.PrivateAttr(default=0)

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.a


class Other(pydantic.BaseModel):
    a: int = 1
    b: Any = None


class Box(pydantic.BaseModel, Generic[T]):
    item: T


def looked_at(value: Any) -> Any:
    assert value.double
    return value


def with_hash(value: Any) -> Any:
    hash(value)
    return value


def with_private(number: int) -> Model:
    model = Model()
    model._private = number
    return model


NAN = np.float64("nan")
BASE = np.arange(24.0).reshape(4, 6)
FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5], "c": ["x", "y", None]})


def grown() -> pd.DataFrame:
    made = pd.DataFrame({"a": [1, 2, 3]})
    made["b"] = [1.5, 2.5, 3.5]
    made["c"] = ["x", "y", None]
    return made


def chunked(*chunks: list[Any], type: Any = None) -> pa.Table:  # noqa: A002
    return pa.table({"a": pa.chunked_array(chunks, type=type)})


def arrow_under_null(hidden: int) -> Any:
    values = np.array([1, hidden], "i8")
    return pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(values)])


def tailed(last: int) -> Any:
    return pa.Array.from_buffers(pa.bool_(), 3, [None, pa.py_buffer(bytes([0b101 | last << 3]))])


def map_array(pairs: Any) -> Any:
    return pa.array(pairs, type=pa.map_(pa.string(), pa.int64()))


NESTED = [{"x": [1, 2], "y": "a"}, None, {"x": [], "y": None}, {"x": None, "y": "b"}]

EQUAL: list[tuple[str, Any, Any]] = [
    ("a view with strides and its copy", BASE[::2, 1::3], BASE[::2, 1::3].copy()),
    ("a reversed view and its copy", BASE[::-1], BASE[::-1].copy()),
    ("a read-only array", np.broadcast_to(np.int64(1), (3,)), np.ones(3, "i8")),
    ("two names of one dtype", np.zeros(2, np.longlong), np.zeros(2, np.int64)),
    ("padding between fields", padded(0), padded(255)),
    ("what a mask hides", masked(5), masked(6)),
    ("views with strides of a masked array", np.ma.masked_array(BASE)[::2], np.ma.masked_array(BASE)[::2].copy()),
    ("no mask and a mask of nothing", np.ma.masked_array([1]), np.ma.masked_array([1], mask=[False])),
    ("NaN in other bits", np.float64("nan"), np.uint64(0xFFF8000000000001).view("f8")),
    ("complex NaN", np.complex128(complex(NAN, 1)), np.complex128(complex(-NAN, 1))),
    ("long doubles", np.array([1, 2], np.longdouble), np.array([1, 2], np.longdouble)[::-1][::-1].copy()),
    ("objects", np.array([{1, 8}, "a"], dtype=object), np.array([{8, 1}, "".join(["a"])], dtype=object)),
    (
        "strings of one dtype",
        np.array(["a", "b" * 50], np.dtypes.StringDType()),
        np.array(["b" * 50, "a"], np.dtypes.StringDType())[::-1],
    ),
    ("frames with other blocks", FRAME, grown()),
    ("a frame and its copy", FRAME, FRAME.copy(deep=True)),
    (
        "rows taken from a frame",
        FRAME.iloc[1:].reset_index(drop=True),
        pd.DataFrame({"a": [2, 3], "b": [2.5, 3.5], "c": ["y", None]}),
    ),
    ("columns of a transposed array", pd.DataFrame(BASE), pd.DataFrame(np.asfortranarray(BASE))),
    (
        "what a null hides",
        pd.arrays.IntegerArray(np.array([1, 7]), np.array([False, True])),
        pd.array([1, None], dtype="Int64"),
    ),
    ("unused levels", pd.MultiIndex.from_product([[1, 2], ["a"]])[:1], pd.MultiIndex.from_tuples([(1, "a")])),
    ("series named alike", pd.Series([1], name="a"), pd.Series([1], name="".join(["a"]))),
    (
        "pandas Arrow strings in chunks",
        pd.array(["a", None], dtype=pd.ArrowDtype(pa.string())),
        pd.Series(["z", "a", None], dtype=pd.ArrowDtype(pa.string())).iloc[1:].array,
    ),
    ("polars chunks", pl.Series("a", [1, 2, 3]), pl.Series("a", [1]).append(pl.Series("a", [2, 3]))),
    ("polars slices", pl.Series("a", ["x", "yy", None, "z"]).slice(1, 2), pl.Series("a", ["yy", None])),
    ("polars lists", pl.Series("a", [[9], [1, 2], None, []]).slice(1), pl.Series("a", [[1, 2], None, []])),
    ("polars structs", pl.Series("a", NESTED).slice(1), pl.Series("a", NESTED[1:], dtype=pl.Series("a", NESTED).dtype)),
    (
        "polars nulls",
        pl.DataFrame({"a": [1, None]}),
        pl.DataFrame({"a": [1, 5]}).with_columns(a=pl.when(pl.col("a") == 1).then("a")),
    ),
    ("Arrow chunks", chunked([1, 2, 3]), chunked([1], [], [2, 3])),
    ("Arrow chunks of strings", chunked(["a", "bb", None]), chunked(["a"], ["bb", None])),
    ("Arrow chunks of nested values", chunked(NESTED), chunked(NESTED[:1], NESTED[1:], type=pa.array(NESTED).type)),
    ("Arrow slices", pa.array([0, 1, None, 3]).slice(1, 2), pa.array([1, None])),
    ("Arrow slices of strings", pa.array(["zz", "a", None]).slice(1), pa.array(["a", None])),
    ("Arrow slices of truth values", pa.array([True] * 9 + [False, None]).slice(8), pa.array([True, False, None])),
    ("Arrow slices of lists", pa.array([[9], [1, 2], None, []]).slice(1), pa.array([[1, 2], None, []])),
    ("Arrow slices of structs", pa.array(NESTED).slice(1), pa.array(NESTED[1:], type=pa.array(NESTED).type)),
    ("Arrow slices of maps", map_array([[("z", 0)], [("a", 1)], None]).slice(1), map_array([[("a", 1)], None])),
    (
        "Arrow slices of lists of one size",
        pa.array([[0, 0], [1, 2]], pa.list_(pa.int8(), 2)).slice(1),
        pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
    ),
    ("Arrow values under nulls", arrow_under_null(7), arrow_under_null(8)),
    ("Arrow bits past the end", tailed(0), tailed(1)),
    ("Arrow scalars", pa.scalar("a"), pa.array(["b", "a"])[1]),
    ("Arrow dictionaries", pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "b"]).dictionary_encode()),
    (
        "Arrow dictionaries in chunks",
        chunked(["a", "b"]).column(0).dictionary_encode(),
        chunked(["a"], ["b"]).column(0).dictionary_encode(),
    ),
    (
        "Arrow chunks with dictionaries of their own",
        chunked(["a", "b"]).column(0).dictionary_encode(),
        pa.chunked_array([pa.array([text]).dictionary_encode() for text in "ab"]),
    ),
    ("the masked constant", np.ma.masked, np.ma.masked_array([1], mask=[True])[0]),
    (
        "Arrow values without a format of numbers",
        pa.array([None, (1, 2, 3)], pa.month_day_nano_interval()).slice(1),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    ),
    ("Arrow decimals", pa.array([None, 1], pa.decimal128(5, 2)).slice(1), pa.array([1], pa.decimal128(5, 2))),
    ("an attrs object that was looked at", Order(1), looked_at(Order(1))),
    ("an attrs object with what is not to be computed", Costly(1), Costly(1)),
    ("an attrs object that was hashed", Hashed(1), with_hash(Hashed(1))),
    ("a model that was looked at", Model(a=2), looked_at(Model(a=2))),
    ("fields that were given or not", Model(), Model(a=1)),
    ("a model of defaults and from JSON", Model(), Model.model_validate_json(Model().model_dump_json())),
    ("a model from JSON", Model(a=1, b="x"), Model.model_validate_json('{"b": "x", "a": 1}')),
    ("models of one generic", Box[int](item=1), Box[int].model_validate({"item": 1})),
]

DIFFERENT: list[tuple[str, Any, Any]] = [
    ("Fortran order, the one split of equal values", BASE, np.asfortranarray(BASE)),
    ("orders of the same memory", np.arange(4).reshape(2, 2), np.arange(4).reshape(2, 2).T),
    ("shapes", np.zeros((2, 3)), np.zeros((3, 2))),
    ("empty shapes", np.zeros((0, 3)), np.zeros((0, 2))),
    ("Fortran order under a mask", np.ma.masked_array(BASE), np.ma.masked_array(np.asfortranarray(BASE))),
    (
        "Fortran order of masked records",
        np.ma.masked_array(np.zeros((2, 3), [("a", "i4")])),
        np.ma.masked_array(np.zeros((2, 3), [("a", "i4")], order="F")),
    ),
    ("views on nothing of two shapes", memoryview(np.ones((2, 0))), memoryview(np.ones((3, 0)))),
    ("views on nothing and on no dimension", memoryview(np.ones((2, 0))), memoryview(np.array(1.0))),
    ("no dimension and one", np.array(1), np.array([1])),
    ("dtypes of one size", np.zeros(2, "i8"), np.zeros(2, "u8")),
    ("byte orders", np.zeros(2, "<i4"), np.zeros(2, ">i4")),
    ("units", np.zeros(2, "M8[s]"), np.zeros(2, "M8[ms]")),
    ("dates and durations", np.zeros(2, "M8[s]"), np.zeros(2, "m8[s]")),
    ("names of fields", np.zeros(1, [("a", "i4")]), np.zeros(1, [("b", "i4")])),
    ("array and list", np.array([1, 2]), [1, 2]),
    ("array and array of records", np.zeros(1, [("a", "i4")]), np.zeros(1, [("a", "i4")]).view(np.recarray)),
    ("scalar and int", np.int64(1), 1),
    ("scalar and float", np.float64(1), 1.0),
    ("scalars of two widths", np.int64(1), np.int32(1)),
    ("scalar and array", np.float64(1), np.array(1.0)),
    ("np.bool and bool", np.bool_(True), True),
    ("np.str_ and str", np.str_("a"), "a"),
    ("zero and minus zero", np.array([0.0]), np.array([-0.0])),
    ("masks", masked(2), np.ma.masked_array([1, 2], mask=[True, False], fill_value=9)),
    ("masked and not", np.ma.masked_array([1]), np.array([1])),
    ("attributes of a subclass", signal(1), signal(2)),
    ("objects that are equal but of two types", np.array([1, "a"], object), np.array([1.0, "a"], object)),
    ("dtype objects", np.dtype("i4"), np.dtype("f4")),
    ("generators", np.random.default_rng(1), np.random.default_rng(2)),
    ("generators in two states", np.random.default_rng(1), (lambda g: (g.random(), g)[1])(np.random.default_rng(1))),
    ("functions of NumPy", np.add, np.subtract),
    ("values of a frame", FRAME, FRAME.assign(a=[1, 2, 4])),
    ("order of columns", FRAME, FRAME[["b", "a", "c"]]),
    ("names of columns", FRAME, FRAME.rename(columns={"a": "z"})),
    ("name of the columns", FRAME, FRAME.rename_axis(columns="z")),
    ("index", FRAME, FRAME.set_index("a", drop=False)),
    ("name of an index", FRAME, FRAME.rename_axis(index="i")),
    ("dtypes of a column", FRAME, FRAME.astype({"a": "int32"})),
    ("numbers that may be missing", pd.Series([1]), pd.Series([1], dtype="Int64")),
    ("None and NaN", pd.Series([None, "a"], dtype=object), pd.Series([NAN, "a"], dtype=object)),
    (
        "categories",
        pd.Series(["a"], dtype=pd.CategoricalDtype(["a"])),
        pd.Series(["a"], dtype=pd.CategoricalDtype(["a", "b"])),
    ),
    ("ordered categories", pd.Categorical(["a"]), pd.Categorical(["a"], ordered=True)),
    (
        "zones",
        pd.Series(pd.to_datetime(["2024"]).tz_localize("UTC")),
        pd.Series(pd.to_datetime(["2024"]).tz_localize("Europe/Berlin")),
    ),
    ("series and frame", pd.Series([1], name="a"), pd.DataFrame({"a": [1]})),
    ("names of series", pd.Series([1], name="a"), pd.Series([1], name="b")),
    ("attrs of a frame", FRAME, (lambda f: (f.attrs.update(a=1), f)[1])(FRAME.copy())),
    ("timestamps and datetimes", pd.Timestamp("2024"), pd.Timestamp("2024").to_pydatetime()),
    ("timestamps of two zones", pd.Timestamp("2024", tz="UTC"), pd.Timestamp("2024")),
    ("not a time and not a value", pd.NaT, pd.NA),
    ("closed sides", pd.Interval(0, 1), pd.Interval(0, 1, closed="left")),
    ("pandas and polars", pd.Series([1], name="a"), pl.Series("a", [1])),
    ("polars dtypes", pl.Series([1]), pl.Series([1], dtype=pl.Int32)),
    ("polars names", pl.Series("a", [1]), pl.Series("b", [1])),
    ("polars null and zero", pl.Series([1, None]), pl.Series([1, 0])),
    ("polars null and empty", pl.Series(["a", None]), pl.Series(["a", ""])),
    ("polars lists", pl.Series([[1], [2, 3]]), pl.Series([[1, 2], [3]])),
    ("polars null and empty lists", pl.Series([[1], None]), pl.Series([[1], []])),
    ("polars nulls in structs", pl.Series([{"a": None}]), pl.Series([None], dtype=pl.Struct({"a": pl.Null}))),
    ("polars texts", pl.Series(["ab", "c"]), pl.Series(["a", "bc"])),
    ("polars enums", pl.Series(["a"], dtype=pl.Enum(["a"])), pl.Series(["a"], dtype=pl.Enum(["a", "b"]))),
    ("polars order of columns", pl.DataFrame({"a": [1], "b": [2]}), pl.DataFrame({"b": [2], "a": [1]})),
    ("polars empty frames", pl.DataFrame({"a": []}), pl.DataFrame({"b": []})),
    ("Arrow types", pa.array([1]), pa.array([1], pa.int32())),
    ("Arrow null and zero", pa.array([1, None]), pa.array([1, 0])),
    ("Arrow null and empty", pa.array(["a", None]), pa.array(["a", ""])),
    ("Arrow texts and bytes", pa.array(["a"]), pa.array([b"a"])),
    ("Arrow texts", pa.array(["ab", "c"]), pa.array(["a", "bc"])),
    ("Arrow lists", pa.array([[1], [2, 3]]), pa.array([[1, 2], [3]])),
    ("Arrow null and empty lists", pa.array([[1], None]), pa.array([[1], []])),
    (
        "Arrow nulls in structs",
        pa.array([{"a": None}], pa.struct({"a": pa.int8()})),
        pa.array([None], pa.struct({"a": pa.int8()})),
    ),
    ("Arrow zones", pa.array([0], pa.timestamp("s")), pa.array([0], pa.timestamp("s", "UTC"))),
    ("Arrow dictionaries", pa.array(["a"]).dictionary_encode(), pa.array(["a"])),
    ("Arrow arrays and chunked ones", pa.array([1]), pa.chunked_array([[1]])),
    ("Arrow tables and batches", pa.table({"a": [1]}), pa.record_batch({"a": [1]})),
    ("Arrow names", pa.table({"a": [1]}), pa.table({"b": [1]})),
    ("Arrow metadata", pa.table({"a": [1]}), pa.table({"a": [1]}).replace_schema_metadata({"a": "b"})),
    ("Arrow nullability", pa.schema([pa.field("a", pa.int8())]), pa.schema([pa.field("a", pa.int8(), nullable=False)])),
    ("Arrow nested names", pa.struct({"a": pa.int8()}), pa.struct({"b": pa.int8()})),
    ("attrs fields", Order(1), Order(2)),
    ("attrs fields that do not compare", Order(1, "a"), Order(1, "b")),
    ("attrs classes", Loose(1), Hashed(1)),
    ("fields of models", Model(a=1), Model(a=2)),
    ("models", Model(a=1), Other(a=1)),
    ("further fields", Model(), Model(z=1)),
    ("private attributes", with_private(1), with_private(2)),
    ("generic models", Box[int](item=1), Box[float](item=1)),
]


@pytest.mark.parametrize(("one", "other"), [pytest.param(a, b, id=name) for name, a, b in EQUAL])
def test_equal_values_have_one_encoding(one: Any, other: Any) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(("one", "other"), [pytest.param(a, b, id=name) for name, a, b in DIFFERENT])
def test_different_values_have_two_encodings(one: Any, other: Any) -> None:
    assert key(one) != key(other)


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (np.array([1, LOCK], dtype=object), "argument 'conn' -> [1]"),
        (pd.DataFrame({"a": [1], "b": [LOCK]}), "argument 'conn' -> ['b'] -> [0]"),
        (pd.Series([LOCK]), "argument 'conn' -> [0]"),
        (pl.DataFrame({"a": [1]}).lazy(), "argument 'conn'"),
        (pl.col("a"), "argument 'conn'"),
        (Order(LOCK), "argument 'conn' -> .number"),  # type: ignore[arg-type]
        (Model(b={"k": LOCK}), "argument 'conn' -> .b -> ['k']"),
        (np.frompyfunc(len, 1, 1), "argument 'conn'"),
    ],
)
def test_a_refusal_names_the_path(value: Any, path: str) -> None:
    with pytest.raises(UnkeyableArgument) as caught:
        encode_arguments({"conn": value})
    assert caught.value.path == path


ELEMENTS = st.one_of(st.none(), st.integers(-3, 3))
LISTS = st.lists(st.one_of(st.none(), st.lists(ELEMENTS, max_size=3)), max_size=5)
TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b", "é"])), max_size=5)
STRUCTS = st.lists(
    st.one_of(st.none(), st.fixed_dictionaries({"a": ELEMENTS, "b": st.sampled_from([None, "", "x"])})), max_size=5
)
COLUMNS: list[tuple[Any, Any, Any]] = [
    (st.lists(ELEMENTS, max_size=6), pa.int64(), pl.Int64),
    (st.lists(st.sampled_from([None, True, False]), max_size=12), pa.bool_(), pl.Boolean),
    (TEXTS, pa.string(), pl.String),
    (LISTS, pa.list_(pa.int64()), pl.List(pl.Int64)),
    (STRUCTS, pa.struct({"a": pa.int64(), "b": pa.string()}), pl.Struct({"a": pl.Int64, "b": pl.String})),
]
thorough = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_columns_go_by_their_elements(column: int) -> None:
    elements, arrow_type, polars_type = COLUMNS[column]

    @thorough
    @given(elements, elements, st.integers(0, 3), st.integers(0, 5))
    def check(one: Any, other: Any, skipped: int, cut: int) -> None:
        def arrow(values: Any) -> Any:
            whole = pa.array([*other[:skipped], *values], type=arrow_type)[len(other[:skipped]) :]
            return pa.chunked_array([whole[:cut], whole[cut:]], type=arrow_type)

        def polars(values: Any) -> Any:
            whole = pl.Series("a", [*other[:skipped], *values], dtype=polars_type)[len(other[:skipped]) :]
            return whole[:cut].append(whole[cut:])

        for cut_up, plain in (
            (arrow, lambda values: pa.chunked_array([values], type=arrow_type)),
            (polars, lambda values: pl.Series("a", values, dtype=polars_type)),
        ):
            assert key(cut_up(one)) == key(plain(one))
            assert (key(cut_up(one)) == key(plain(other))) == (one == other)

    check()


DTYPES = st.sampled_from(["i8", "i4", "u1", "f8", ">i2", "c16", "?", "S3", "U2", "M8[D]", "O"])
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@thorough
@given(DTYPES, SHAPES, DTYPES, SHAPES, st.data())
def test_arrays_go_by_dtype_shape_and_elements(dtype: str, shape: Any, other: str, other_shape: Any, data: Any) -> None:
    def made(dtype: str, shape: Any) -> Any:
        count = int(np.prod(shape, dtype=int))
        return (
            np.array(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)), "i8")
            .astype(dtype)
            .reshape(shape)
        )

    one, two = made(dtype, shape), made(other, other_shape)
    same = one.dtype == two.dtype and one.shape == two.shape and one.tolist() == two.tolist()
    assert (key(one) == key(two)) == same
    assert key(np.array(one, order="C")) == key(np.repeat(one[..., None], 2, axis=-1)[..., 0])


def test_a_class_of_a_library_can_be_given_a_key() -> None:
    class Sub(pd.Series):
        def __cache_key__(self) -> Any:
            return "sub"

    Sub.__qualname__ = "Sub"
    globals()["Sub"] = Sub
    assert key(Sub([1])) == key(Sub([2]))


class Ticker(pd.DataFrame): ...


def test_a_registered_key_comes_before_what_the_library_has() -> None:
    assert key(Ticker({"a": [1]})) != key(Ticker({"a": [2]}))
    register_key(Ticker, lambda ticker: list(ticker.columns))
    assert key(Ticker({"a": [1]})) == key(Ticker({"a": [2]}))
