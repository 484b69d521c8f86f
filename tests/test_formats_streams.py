"""Streams: items reach the file as they come, with little memory, and nothing once they are abandoned."""

from __future__ import annotations

import datetime as dt
import gc
import io
import tracemalloc
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from eagerly.datasets.formats import Format, format_for, formats
from eagerly.errors import DatasetFormatError
from formats_cases import WriteOnly, loaded

ITEMS: dict[str, list[Any]] = {
    "text": ["a", "", "b"],
    "bytes": [b"a", b"", bytearray(b"b")],
    "jsonl": [{"a": 1}, None, [2]],
    "csv": [{"a": "1"}, {"a": "2"}],
    "tsv": [["1"], ["2"]],
    "parquet": [{"a": 1}, {"a": None}],
    "feather": [{"a": 1}, {"a": None}],
}


def written(chosen: Format, items: Any, **options: Any) -> bytes:
    file = WriteOnly()
    writer = chosen.writer(file, options)
    for item in items:
        writer.write(item)
    writer.close()
    writer.close()
    assert not file.closed
    return file.data


def streaming(name: str, **given: Any) -> Format:
    return format_for(name=name, streaming=True, **given)


def test_these_formats_take_streams() -> None:
    assert {each.name for each in formats() if each.items} == set(ITEMS)


@pytest.mark.parametrize("name", ITEMS)
def test_items_come_back(name: str) -> None:
    items = ITEMS[name]
    data = written(streaming(name, value=items[0]), items)
    expected: Any = {"text": "a\n\nb\n", "bytes": b"ab"}.get(name, items)
    assert loaded(streaming(name), data, list[list] if name == "tsv" else type(expected)) == expected


@pytest.mark.parametrize("name", ITEMS)
def test_a_stream_without_items_is_a_file_without_items(name: str) -> None:
    data = written(streaming(name), [])
    expected: Any = {"text": "", "bytes": b""}.get(name, [])
    assert loaded(streaming(name), data, type(expected)) == expected


@pytest.mark.parametrize("name", ["text", "bytes", "jsonl", "csv", "tsv"])
def test_an_item_is_written_at_once(name: str) -> None:
    file = WriteOnly()
    writer = streaming(name).writer(file, {})
    before = -1
    for item in (each for each in ITEMS[name] if each != b""):
        writer.write(item)
        assert len(file.data) > before
        before = len(file.data)
    assert before == len(written(streaming(name), ITEMS[name]))


@pytest.mark.parametrize("name", ["parquet", "feather"])
def test_rows_are_written_in_groups_as_they_come(name: str) -> None:
    file = WriteOnly()
    writer = streaming(name).writer(file, {"row_group_size": 100})
    sizes = []
    for number in range(1000):
        writer.write({"n": number, "s": str(number)})
        sizes.append(len(file.data))
    assert len(set(sizes)) >= 10
    writer.close()
    assert loaded(streaming(name), file.data, list) == [{"n": number, "s": str(number)} for number in range(1000)]
    if name == "parquet":
        assert pyarrow.parquet.ParquetFile(io.BytesIO(file.data)).num_row_groups == 10


class Counting(WriteOnly):
    """Forgets what is written, so that only what a writer holds back takes memory."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def write(self, data: Any, /) -> int:
        self.size += len(data)
        return len(data)


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet", "feather"])
def test_memory_does_not_grow_with_the_stream(name: str) -> None:
    file = Counting()
    writer = streaming(name).writer(file, {"row_group_size": 500} if name in ("parquet", "feather") else {})

    def write(count: int) -> int:
        for number in range(count):
            writer.write({"n": number, "s": f"{number:0100}"})
        gc.collect()
        return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes()

    tracemalloc.start()
    try:
        first, later = write(1500), write(8_500)
    finally:
        tracemalloc.stop()
    writer.close()
    assert file.size > 100_000
    assert later - first < 400_000  # the rows are 1 MB of text


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1, 2]}), pa.table({"a": [1, 2]})], ids=str
)
@pytest.mark.parametrize("name", ["parquet", "feather"])
def test_frames_are_groups_of_rows(frame: Any, name: str) -> None:
    data = written(streaming(name, value=frame), [frame, frame, frame])
    back = loaded(streaming(name), data, type(frame))
    assert type(back) is type(frame)
    assert loaded(streaming(name), data, list) == [{"a": 1}, {"a": 2}] * 3
    if name == "parquet":
        assert pyarrow.parquet.ParquetFile(io.BytesIO(data)).num_row_groups == 3


@pytest.mark.parametrize("name", ["parquet", "feather"])
@pytest.mark.parametrize("count", [1, 250])
def test_an_abandoned_stream_writes_nothing_more(name: str, count: int) -> None:
    file = WriteOnly()
    writer = streaming(name).writer(file, {"row_group_size": 100})
    for number in range(count):
        writer.write({"n": number})
    size = len(file.data)
    assert bool(size) == (count > 100)
    file.close()  # as a store does that throws the file away
    del writer
    gc.collect()  # an exception in a finalizer would fail this test, as warnings are errors here
    assert len(file.data) == size


UTC_NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"a": 1}, {"b": 1}], "row 101 has no 'a'"),
        ([{"a": 1}, {"a": 2.5}], "column 'a' mixes float and int"),
        ([{"a": None}, {"a": 1}], "column 'a' was None in the first 101 rows, and is int now; .*pyarrow.schema"),
        (
            [{"a": UTC_NOON}, {"a": UTC_NOON.replace(tzinfo=None)}],
            "column 'a' would be changed .* one time zone or none",
        ),
        (
            [{"a": UTC_NOON.replace(tzinfo=None)}, {"a": UTC_NOON}],
            "column 'a' would be changed .* one time zone or none",
        ),
        ([{"a": 1}, pl.DataFrame({"a": [1]})], "had dict for items, and has a polars.DataFrame now"),
        (
            [pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["x"]})],
            r"same columns and types; found \(a: .*string.*\) after \(a: int64\)",
        ),
        ([pd.DataFrame(index=range(3))], r"(has no index|no rows without columns).*reset_index\(\)"),
        ([pd.DataFrame({"a": [1]}, index=[3])], r"has no index .*reset_index\(\)"),
        ([[1]], "takes dicts or frames for the items of a stream, not a list"),
    ],
)
@pytest.mark.parametrize("name", ["parquet", "feather"])
def test_an_item_that_does_not_fit_those_before_it_is_refused(name: str, items: list[Any], message: str) -> None:
    several = [items[0]] * 101 if isinstance(items[0], dict) else [items[0]]
    with pytest.raises(DatasetFormatError, match=message):
        written(streaming(name), [*several, *items[1:]], row_group_size=101)


def test_the_first_frame_is_looked_at_for_types_that_would_change() -> None:
    with pytest.raises(DatasetFormatError, match=r"timestamp\[s\], and parquet would give it back as timestamp\[ms\]"):
        written(streaming("parquet"), [pa.table({"t": pa.array([1], pa.timestamp("s"))})])


@pytest.mark.parametrize("name", ["jsonl", "parquet", "feather"])
def test_a_body_may_reuse_the_dict_that_it_yields(name: str) -> None:
    def reusing() -> Any:
        row: dict[str, Any] = {"n": 0, "l": [0]}
        for number in range(3):
            row["n"] = number
            row["l"][0] = number
            yield row

    assert loaded(streaming(name), written(streaming(name), reusing()), list) == [{"n": n, "l": [n]} for n in range(3)]


def test_a_schema_says_the_types_beforehand() -> None:
    schema = pa.schema({"a": pa.int32(), "b": pa.float32()})
    data = written(streaming("parquet"), [{"a": None, "b": 1}, {"a": 1, "b": 2.5}], schema=schema, row_group_size=1)
    assert loaded(streaming("parquet"), data, pa.Table).schema.equals(schema)
    assert loaded(streaming("parquet"), written(streaming("parquet"), [], schema=schema), pa.Table).schema.equals(
        schema
    )


def test_lines_get_an_end_unless_they_have_one() -> None:
    chosen = streaming("text")
    assert written(chosen, ["a", "b\n"]) == b"a\nb\n"
    assert written(chosen, ["to", "ken"], end="") == b"token"
    assert written(chosen, ["ä", "b"], encoding="utf-16").decode("utf-16") == "ä\nb\n"
    assert written(chosen, ["あか", "あ"], end="", encoding="euc_jis_2004") == "あかあ".encode("euc_jis_2004")
    assert loaded(chosen, b"a\n\nb\r\n", list) == ["a", "", "b\r"]


@pytest.mark.parametrize(
    ("value", "name"),
    [("x", "text"), (b"x", "bytes"), ({"a": 1}, "jsonl"), ([1], "jsonl"), (3, "jsonl"), (pl.DataFrame(), "parquet")],
)
def test_an_item_has_a_usual_format(value: Any, name: str) -> None:
    assert format_for(value=value, streaming=True).name == name
    assert format_for(streaming=True).name == "jsonl"


def test_a_format_that_takes_no_items_is_refused() -> None:
    message = "json cannot be written item by item; text, bytes, jsonl, csv, tsv, parquet, feather can"
    with pytest.raises(DatasetFormatError, match=message):
        format_for(extension=".json", streaming=True)
    with pytest.raises(DatasetFormatError, match="json cannot be written item by item"):
        format_for(name="json", loading=True).writer(WriteOnly(), {})


def test_an_item_of_the_wrong_type_is_refused_with_what_fits() -> None:
    with pytest.raises(DatasetFormatError, match=r"not a list for an item; a list fits jsonl, csv, tsv"):
        format_for(extension=".parquet", value=[1], streaming=True)
    with pytest.raises(DatasetFormatError, match="no format takes a complex for an item of a stream"):
        format_for(value=1j, streaming=True)
    for name in ("text", "bytes", "csv"):
        with pytest.raises(DatasetFormatError):
            written(streaming(name), [1])
