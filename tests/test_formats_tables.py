"""Tables: what pandas, polars, pyarrow and rows keep in parquet, feather and csv, and what is refused there."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from polars.testing import assert_frame_equal

from eagerly.datasets.formats import format_for
from eagerly.errors import DatasetFormatError
from formats_cases import loaded, round_trip, saved

BINARY = ["parquet", "feather"]

OSLO = zoneinfo.ZoneInfo("Europe/Oslo")
AT_FIVE = dt.timezone(dt.timedelta(hours=5))
NOON = dt.datetime(2020, 1, 1, 12)
ZONED = dt.time(1, tzinfo=AT_FIVE)

FRAMES = {
    "column names that are numbers": pd.DataFrame({1: [1], 2: [2]}),
    "columns of two levels": pd.DataFrame({("a", "b"): [1], ("a", "c"): [2]}),
    "an index of two levels": pd.DataFrame(
        {"a": [1, 2]}, pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", "q"])
    ),
    "an index of numbers": pd.DataFrame({"a": [1]}, index=[5]),
    "categories in their order": pd.DataFrame({"c": pd.Categorical(["b", "a"], ["b", "a", "z"], ordered=True)}),
    "nullable types": pd.DataFrame({"i": pd.array([1, None], "Int64"), "s": pd.array(["x", None], "string")}),
    "periods": pd.DataFrame({"p": pd.period_range("2020-01", periods=2, freq="M")}),
    "time zones": pd.DataFrame({"z": pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Berlin")}),
    "nanoseconds": pd.DataFrame({"t": np.array([1], "M8[ns]"), "d": np.array([1], "m8[ns]")}),
    "dates and decimals": pd.DataFrame({"d": [dt.date(2020, 1, 1)], "x": [decimal.Decimal("1.10")]}),
    "small floats": pd.DataFrame({"f": np.array([1.5], "float16"), "g": np.array([1.5], "float32")}),
    "arrays": pd.DataFrame({"a": [np.array([1, 2], "int8"), None, np.array([], "int8")]}),
    "dicts with the same keys": pd.DataFrame({"a": [{"x": "1", "y": {"z": "é"}}, None]}),
    "uuids": pd.DataFrame({"u": [uuid.UUID(int=1), None]}),
    "an index of dates": pd.DataFrame({"a": [1]}, index=[dt.date(2020, 1, 1)]),
    "an index and no columns": pd.DataFrame(index=[5]),
    "nothing": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": np.array([], "int8")}),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("what", FRAMES)
def test_a_pandas_frame_comes_back_with(what: str, name: str) -> None:
    pd.testing.assert_frame_equal(FRAMES[what], round_trip(name, FRAMES[what]))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [[1], [2]]}), "column 'a' holds list and would come back as numpy.ndarray"),
        (pd.DataFrame({"a": [1, None]}, dtype=object), "column 'a' holds int and would come back as float"),
        (pd.DataFrame({"a": [1, "x"]}), "Conversion failed for column a"),
        (pd.DataFrame({"a": [1j]}), "Conversion failed for column a"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "Sparse pandas data"),
        (pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]), "has one column of each name; rename 'a'"),
        (pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}), r"column 'a' would be changed by \w+ at \[0\]; .*'pickle'"),
        (pd.DataFrame({"a": [None, {"x": [1]}]}), r"column 'a' would be changed by \w+ at \[1\]\['x'\]"),
        (pd.DataFrame({"a": [{"x": None}, {"x": 1}]}), r"column 'a' would be changed by \w+ at \[1\]\['x'\]"),
        (pd.DataFrame({"a": [np.array([1]), np.array([1.5])]}), r"column 'a' would be changed by \w+ at \[0\]"),
        (pd.DataFrame({"a": [np.array(["x"])]}), r"column 'a' would be changed by \w+ at \[0\]"),
        (pd.DataFrame({"a": [ZONED]}), r"column 'a' would be changed by \w+ at \[0\]"),
        (pd.DataFrame({"a": [1]}, index=[ZONED]), r"level 0 of the index would be changed by \w+ at \[0\]"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([1], dtype=object)), "level 0 of the index holds int and would"),
        (pd.DataFrame([[1, 2]], columns=[True, False]), "column False would come back from .* as column True; rename"),
        (pd.DataFrame([[1, 2]], columns=["a", 1]), "column 1 would come back from .* as column '1'; rename it"),
        (pd.DataFrame({("a", 1): [1], ("a", "b"): [2]}), r"column \('a', 1\) would come back from"),
        (
            pd.DataFrame({"a": [1]}, index=pd.Index([3], name=5)),
            r"index \(5\) would come .* of the index \('5'\); rename",
        ),
        (pd.DataFrame([[1]], columns=[dt.date(2020, 1, 1)]), "could not load it: .*; rename its columns to text"),
    ],
)
@pytest.mark.filterwarnings("ignore:The DataFrame has:UserWarning")  # pyarrow says of some that they will change
@pytest.mark.parametrize("name", BINARY)
def test_a_pandas_frame_that_would_change_is_refused(frame: pd.DataFrame, message: str, name: str) -> None:
    with pytest.raises(DatasetFormatError, match=message):
        saved(format_for(name=name, value=frame), frame)


def test_rows_without_columns_are_never_lost_in_silence() -> None:
    table = pa.table({"a": [1, 2]})
    for frame in (pd.DataFrame(index=range(2)), table.select([])):
        with pytest.raises(
            DatasetFormatError, match="parquet holds no rows without columns, and this frame has 2; write"
        ):
            saved(format_for(name="parquet", value=frame), frame)
        assert round_trip("feather", frame, type(frame)).shape == (2, 0)


def test_none_in_a_dict_that_only_one_format_keeps_is_refused_by_the_other() -> None:
    frame = pd.DataFrame({"a": [{"x": {"y": 1}}, {"x": None}]})
    with pytest.raises(DatasetFormatError, match=r"column 'a' would be changed by parquet at \[0\]\['x'\]\['y'\]"):
        saved(format_for(name="parquet", value=frame), frame)
    assert repr(list(round_trip("feather", frame)["a"])) == repr(list(frame["a"]))


def test_a_type_that_only_one_format_keeps_is_refused_by_the_other() -> None:
    for frame in (pd.DataFrame({"t": np.array([1], "M8[s]")}), pa.table({"t": pa.array([1], pa.timestamp("s"))})):
        with pytest.raises(
            DatasetFormatError, match=r"column 't' is .*\[s\], and parquet would give it back as .*\[ms\]"
        ):
            saved(format_for(name="parquet", value=frame), frame)
        assert round_trip("feather", frame, type(frame)).equals(frame)


@pytest.mark.parametrize("name", BINARY)
def test_a_polars_frame_comes_back_with_its_types(name: str) -> None:
    frame = pl.DataFrame(
        {
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y", "z"])),
            "l": [[1], [2, 3]],
            "s": [{"q": 1}, {"q": None}],
            "t": [dt.timedelta(1), None],
            "n": [None, None],
            "i": pl.Series([1, 2], dtype=pl.UInt8),
        }
    )
    assert_frame_equal(frame, round_trip(name, frame, pl.DataFrame))
    with pytest.raises(DatasetFormatError, match=f"{name} cannot hold this polars.DataFrame"):
        saved(format_for(name=name, value=frame), pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))


@pytest.mark.parametrize("name", BINARY)
def test_any_library_reads_what_another_has_written(name: str) -> None:
    values = {
        pd.DataFrame: pd.DataFrame({"a": [1, 2], "s": ["x", "y"]}),
        pl.DataFrame: pl.DataFrame({"a": [1, 2], "s": ["x", "y"]}),
        pa.Table: pa.table({"a": [1, 2], "s": ["x", "y"]}),
        list: [{"a": 1, "s": "x"}, {"a": 2, "s": "y"}],
    }
    for value in values.values():
        for kind in values:
            back = round_trip(name, value, kind)
            assert type(back) is kind
            rows = back.to_dict("records") if kind is pd.DataFrame else back
            rows = rows.to_dicts() if kind is pl.DataFrame else rows.to_pylist() if kind is pa.Table else rows
            assert rows == values[list]


ROW = {
    "bool": True,
    "int": -(2**62),
    "float": 0.1,
    "str": "é",
    "bytes": b"\x00",
    "date": dt.date(2024, 1, 2),
    "moment": dt.datetime(2024, 1, 2, 3, 4, 5, 678),
    "time": dt.time(1, 2, 3, 4),
    "span": dt.timedelta(days=1, microseconds=1),
    "decimal": decimal.Decimal("1.10"),
    "list": [[1], []],
    "dict": {"a": "x", "b": None},
    "none": None,
}


@pytest.mark.parametrize("name", BINARY)
def test_rows_come_back_with_the_types_of_their_cells(name: str) -> None:
    rows = [ROW, dict.fromkeys(ROW)]
    back = round_trip(name, rows, list)
    assert back == rows
    assert [type(cell) for cell in back[0].values()] == [type(cell) for cell in ROW.values()]


@pytest.mark.parametrize(
    "moments",
    [
        [NOON, dt.datetime.min, dt.datetime.max],
        [NOON.replace(tzinfo=dt.UTC)],
        [NOON.replace(tzinfo=AT_FIVE)],
        [NOON.replace(tzinfo=OSLO), dt.datetime(2024, 10, 27, 2, 30, tzinfo=OSLO, fold=1)],
        [{"at": NOON.replace(tzinfo=dt.UTC)}],
        [[NOON.replace(tzinfo=dt.UTC)], []],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", BINARY)
def test_moments_come_back_with_their_time_zone(moments: list[Any], name: str) -> None:
    rows = [*({"a": moment} for moment in moments), {"a": None}]
    assert repr(round_trip(name, rows, list)) == repr(rows)


@pytest.mark.parametrize(
    ("moments", "place"),
    [
        ([NOON, NOON.replace(tzinfo=AT_FIVE)], 1),
        ([NOON.replace(tzinfo=dt.UTC), NOON], 1),
        ([NOON.replace(tzinfo=AT_FIVE), NOON], 1),
        ([NOON.replace(tzinfo=dt.UTC), NOON.replace(tzinfo=AT_FIVE)], 1),
        ([NOON.replace(fold=1)], 0),
        ([NOON.replace(tzinfo=zoneinfo.ZoneInfo("UTC"))], 0),
        ([NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=1), "CET"))], 0),
    ],
)
@pytest.mark.parametrize("name", BINARY)
def test_datetimes_that_would_move_are_refused(moments: list[Any], place: int, name: str) -> None:
    rows = [{"a": moment} for moment in moments]
    message = rf"column 'a' would be changed by {name} at \[{place}\]; .* one time zone or none; write .*utc"
    with pytest.raises(DatasetFormatError, match=message):
        saved(format_for(name=name, value=rows), rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, {"a": 2.5}], "column 'a' mixes float and int"),
        ([{"a": 1}, {"a": True}], "column 'a' mixes bool and int"),
        ([{"a": 1}, {"b": 1}], "row 1 has no 'a'; parquet has the same columns in all rows"),
        ([{"a": 1}, {"a": 1, "b": 1}], "row 1 has 'b' too"),
        ([{"a": (1,)}], "column 'a' holds tuple, which parquet would change"),
        ([{"a": np.float64(1)}], "column 'a' holds numpy.float64, which parquet would change"),
        ([{"a": 2**64}], "column 'a' does not fit parquet"),
        ([{"a": [1, 2.5]}], r"column 'a' would be changed by parquet at \[0\]\[0\]"),
        ([{"a": {"x": 1}}, {"a": {"y": 1}}], r"column 'a' would be changed by parquet at \[0\]"),
        ([{1: 1}], "names that are text"),
        ([{}, {}], r"a row of parquet has at least one cell; this one is \{\}"),
        ([{"a": dt.time(1)}, {"a": ZONED}], r"column 'a' would be changed by parquet at \[1\]; times have no zone"),
        (
            [{"a": dt.time(1, fold=1)}],
            r"column 'a' would be changed by parquet at \[0\]; times have no zone and no fold",
        ),
        ([{"a": [NOON.replace(fold=1)]}], r"column 'a' would be changed by parquet at \[0\]\[0\]"),
    ],
)
def test_rows_that_would_change_are_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(DatasetFormatError, match=message):
        saved(format_for(name="parquet", value=rows), rows)


def test_options_are_those_of_the_library() -> None:
    frame = pd.DataFrame({"a": np.zeros(10_000), "b": 1})
    chosen = format_for(name="parquet", value=frame)
    data = saved(chosen, frame, compression="zstd", row_group_size=1000)
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata
    assert metadata.num_row_groups == 10
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert list(loaded(chosen, data, columns=["b"]).columns) == ["b"]
    assert (
        loaded(chosen, saved(chosen, pl.from_pandas(frame), compression="gzip"), pl.DataFrame, columns=["b"]).width == 1
    )
    for wrong in ("where", "schema", "filesystem"):
        with pytest.raises(DatasetFormatError, match=f"no option '{wrong}'"):
            saved(chosen, frame, **{wrong: "/tmp/elsewhere"})


def test_feather_compresses_as_it_is_told() -> None:
    frame = pd.DataFrame({"a": np.zeros(100_000)})
    chosen = format_for(name="feather", value=frame)
    sizes = [len(saved(chosen, frame, compression=each)) for each in ("uncompressed", "lz4", "zstd")]
    assert sizes[0] > 800_000 > 50_000 > max(sizes[1:])
    assert list(loaded(chosen, saved(chosen, frame.assign(b=1)), columns=["b"]).columns) == ["b"]
    with pytest.raises(DatasetFormatError, match="feather has no compression 'gzip'; there are 'lz4', 'zstd'"):
        saved(chosen, frame, compression="gzip")


# CSV of frames


def test_a_pandas_index_is_never_lost_in_silence() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    chosen = format_for(name="csv", value=frame)
    with pytest.raises(
        DatasetFormatError, match=r"csv has no index, and this frame has one of its own; write frame.reset_index"
    ):
        saved(chosen, frame)
    assert saved(chosen, frame, index=False) == b"a\n1\n2\n"
    assert loaded(chosen, saved(chosen, frame, index=True), pd.DataFrame, index_col=0).equals(frame)
    with pytest.raises(DatasetFormatError, match="one of its own"):
        saved(chosen, pd.DataFrame({"a": [1, 2]})[1:])


def test_floats_are_exact_in_every_csv() -> None:
    rng = np.random.default_rng(5)
    numbers = rng.standard_normal(3000) * 10.0 ** rng.integers(-300, 300, 3000)
    assert (round_trip("csv", pd.DataFrame({"a": numbers}), pd.DataFrame)["a"] == numbers).all()
    assert (round_trip("csv", pl.DataFrame({"a": numbers}), pl.DataFrame)["a"].to_numpy() == numbers).all()
    assert [
        float(row["a"]) for row in round_trip("csv", [{"a": number} for number in numbers.tolist()])
    ] == numbers.tolist()


def test_a_delimiter_is_said_in_one_way_for_all_libraries() -> None:
    for frame in (pd.DataFrame({"a": [1], "b": ["x"]}), pl.DataFrame({"a": [1], "b": ["x"]})):
        chosen = format_for(name="csv", value=frame)
        data = saved(chosen, frame, delimiter=";")
        assert data == b"a;b\n1;x\n"
        assert loaded(chosen, data, type(frame), delimiter=";").equals(frame)
    table = pa.table({"a": [1], "b": [2]})
    assert loaded(chosen, saved(chosen, table, delimiter=";"), pa.Table, delimiter=";").equals(table)
    assert saved(format_for(name="tsv", value=table), table) == b'"a"\t"b"\n1\t2\n'


def test_options_of_another_library_are_refused() -> None:
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(DatasetFormatError, match="csv has no option 'include_header'"):
        saved(format_for(name="csv", value=frame), frame, include_header=False)
    assert saved(format_for(name="csv", value=frame), pl.DataFrame({"a": [1]}), include_header=False) == b"1\n"


def test_a_pandas_csv_in_another_encoding() -> None:
    frame = pd.DataFrame({"a": ["ß"]})
    chosen = format_for(name="csv", value=frame)
    data = saved(chosen, frame, encoding="latin-1")
    assert data == b"a\n\xdf\n"
    assert loaded(chosen, data, pd.DataFrame, encoding="latin-1").equals(frame)
