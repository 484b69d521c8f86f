"""Text formats: any tree of plain values comes back exactly. What would not is refused, with place and way out."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
import zoneinfo
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.datasets.formats import format_for
from eagerly.errors import DatasetError, DatasetFormatError
from formats_cases import loaded, round_trip, saved

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)


def unfolded(moments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return moments.map(lambda moment: moment.replace(fold=0))


words = st.text(st.characters(exclude_categories=["Cs"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | finite | words


def trees(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any] = words) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=10)


def exactly(one: Any, other: Any) -> bool:
    """By an oracle of its own: the text of both, which tells types, order of keys, -0.0 and NaN apart."""
    return repr(one) == repr(other)


@SETTINGS
@given(trees(scalars))
def test_json_gives_back_any_tree(tree: Any) -> None:
    assert exactly(tree, round_trip("json", tree))
    assert exactly(tree, round_trip("json", tree, ensure_ascii=True, indent=2))


@SETTINGS
@given(st.lists(trees(scalars)))
def test_json_lines_gives_back_any_list_one_item_per_line(items: list[Any]) -> None:
    data = saved(format_for(name="jsonl", value=items), items)
    assert data.count(b"\n") == len(items)
    assert exactly(items, loaded(format_for(name="jsonl", value=items), data))


@SETTINGS
@given(trees(scalars | st.floats() | st.binary() | st.dates() | unfolded(st.datetimes()), words | st.integers()))
def test_yaml_gives_back_any_tree(tree: Any) -> None:
    assert exactly(tree, round_trip("yaml", tree))


@pytest.mark.parametrize("text", ["\x85", "a\x85b", "\x85\n é", " \x85 \u2028", "a\r\n\x85\ufeff"])
def test_yaml_gives_back_every_line_end(text: str) -> None:
    for tree in (text, [text], {text: {"é": text}}):
        assert round_trip("yaml", tree) == tree
    assert "é" in saved(format_for(name="yaml", value={}), {"é": "\u2028"}).decode()


@SETTINGS
@given(st.text("\x85\u2028\u2029\n\r \ta:#-'\"\\\ufeffé", max_size=8), st.integers(2, 9), st.sampled_from([3, 80]))
def test_yaml_gives_back_any_white_space(text: str, indent: int, width: int) -> None:
    for tree in ([text], {text: text}):
        assert round_trip("yaml", tree, indent=indent, width=width) == tree


@settings(SETTINGS, max_examples=60)
@given(
    st.dictionaries(
        words,
        trees(
            st.booleans()
            | st.integers(-(2**63), 2**63 - 1)
            | st.floats(allow_nan=False)
            | words
            | st.dates()
            | unfolded(st.times())
            | unfolded(st.datetimes(timezones=st.none() | st.just(dt.UTC)))
        ),
    )
)
def test_toml_gives_back_any_table(table: dict[str, Any]) -> None:
    back = round_trip("toml", table)
    assert back == table  # tables come after values in a file, so the order of keys may differ
    assert exactly(back, round_trip("toml", back))


@SETTINGS
@given(words)
def test_text_gives_back_any_text(text: str) -> None:
    assert round_trip("text", text) == text


@SETTINGS
@given(st.lists(st.lists(words, min_size=2, max_size=2)), st.sampled_from(["csv", "tsv"]))
def test_csv_gives_back_any_rows_of_text(rows: list[list[str]], name: str) -> None:
    assert round_trip(name, rows, list[list[str]]) == rows


@SETTINGS
@given(st.lists(st.fixed_dictionaries({"a": words, 'b",\n': words})))
def test_csv_gives_back_any_dicts_of_text(rows: list[dict[str, str]]) -> None:
    assert round_trip("csv", rows) == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_an_encoding_is_kept_to(encoding: str) -> None:
    for name, value in (("text", "Käse\r\n"), ("csv", [{"Käse": "ß"}])):
        chosen = format_for(name=name, value=value)
        data = saved(chosen, value, encoding=encoding)
        assert loaded(chosen, data, encoding=encoding) == value
        assert "encoding" in chosen.kept_options
        data.decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis_2004", "あか"),
        ("euc_jis_2004", "あか"),
        ("big5hkscs", "Ê"),
        ("iso2022_jp", "あ"),
        ("idna", "example"),
    ],
)
def test_what_an_encoding_holds_back_is_written_at_the_end(encoding: str, text: str) -> None:
    chosen = format_for(name="text", value=text)
    assert loaded(chosen, saved(chosen, text, encoding=encoding), encoding=encoding) == text
    for rows in ([["z"], ["y"]], pd.DataFrame({"z": ["y"]})):
        data = saved(format_for(name="csv", value=rows), rows, encoding=encoding, lineterminator=text)
        assert data == f"z{text}y{text}".encode(encoding)


@pytest.mark.parametrize(
    ("encoding", "text", "message"),
    [
        ("shift_jis", "a¥", "cannot hold '¥', character 1 of a text; write .*'utf-8'"),
        ("raw_unicode_escape", "\\u0041", r"cannot hold '\\\\', character 0 of a text"),
        ("idna", "a..b", r"cannot hold (this text: .*label|'\.', character 2).*; write .*'utf-8'"),
    ],
)
def test_what_an_encoding_would_change_is_refused(encoding: str, text: str, message: str) -> None:
    for name, value in (("text", text), ("csv", [[text]])):
        with pytest.raises(DatasetFormatError, match=f"{name} in {encoding} {message}"):
            saved(format_for(name=name, value=value), value, encoding=encoding)


def test_what_an_encoding_lacks_is_named() -> None:
    with pytest.raises(DatasetFormatError, match=r"text in latin-1 cannot hold '€', character 2 .*'utf-8'"):
        saved(format_for(name="text", value=""), "ab€", encoding="latin-1")
    with pytest.raises(DatasetFormatError, match="there is no encoding 'utf8000'"):
        saved(format_for(name="text", value=""), "", encoding="utf8000")
    for name in ("text", "json", "toml", "csv"):
        value: Any = {"text": "\ud800", "csv": [{"a": "\ud800"}]}.get(name, {"a": "\ud800"})
        with pytest.raises(DatasetFormatError):
            saved(format_for(name=name, value=value), value)


# What JSON would change


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


LOSSES = [
    ((1, 2), r"\['a'\]\[1\] is a tuple, which would be loaded as a list; write list\(\.\.\.\)"),
    ({1, 2}, r"is a set, which it has no form for; write sorted"),
    ({1: 2}, r"has the key 1, an int; keys are str there"),
    ({None: 2}, r"has the key None, None; keys are str there"),
    (dt.date(2024, 1, 1), r"is a datetime.date, which it has no form for; write its .isoformat\(\)"),
    (b"x", r"is bytes, .* base64"),
    (float("nan"), r"is nan, which it does not have; write None, or options=\{'allow_nan': True\}"),
    (float("-inf"), r"is -inf, which it does not have"),
    (collections.OrderedDict(a=1), r"OrderedDict, which would be loaded as a dict"),
    (np.float64(1.5), r"is a numpy.float64, which would be loaded as a float; write float\(\.\.\.\)"),
    (np.int64(1), r"is a numpy.int64, which it has no form for"),
    (np.zeros(2), r"is a numpy.ndarray, .* \.tolist\(\), or save arrays as npy"),
    (Level.LOW, r"Level, which would be loaded as its bare value"),
    (Colour.RED, r"Colour, which would be loaded as its bare value"),
    (decimal.Decimal(1), r"is a decimal.Decimal, which it has no form for"),
    (object(), r"is an object, which it has no form for"),
]


@pytest.mark.parametrize(("part", "message"), LOSSES, ids=lambda each: str(each)[:20])
@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_what_json_would_change_is_refused(name: str, part: Any, message: str) -> None:
    value: Any = [{"a": [0, part]}] if name == "jsonl" else {"a": [0, part]}
    with pytest.raises(DatasetFormatError, match=rf"^JSON cannot hold this exactly: value.*{message}.*format='pickle'"):
        saved(format_for(name=name, value=value), value)


def test_a_default_says_what_to_write_instead() -> None:
    def plainly(node: Any) -> Any:
        if isinstance(node, dict):
            return {str(key): item for key, item in node.items()}
        return None if isinstance(node, float) else sorted(node)

    assert round_trip("json", {"a": {3, 1}, "b": {1: (2, 1)}, "c": [float("nan")]}, default=plainly) == {
        "a": [1, 3],
        "b": {"1": [1, 2]},
        "c": [None],
    }
    with pytest.raises(DatasetFormatError, match="gave the same object back"):
        saved(format_for(name="json", value={}), {"a": {1}}, default=lambda node: node)


def test_nan_goes_through_when_it_is_allowed() -> None:
    assert exactly([float("nan"), float("inf")], round_trip("json", [float("nan"), float("inf")], allow_nan=True))


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for name in ("json", "yaml"):
        with pytest.raises(DatasetFormatError, match="contains itself, or is nested too deeply"):
            saved(format_for(name=name, value=loop), loop)


def test_other_programs_read_what_was_saved() -> None:
    data = saved(format_for(name="json", value={}), {"ä": [1]}, indent=2, sort_keys=True)
    assert data == '{\n  "ä": [\n    1\n  ]\n}\n'.encode()
    assert json.loads(data) == {"ä": [1]}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("yaml", {"a": (1,)}, r"value\['a'\] is a tuple"),
        ("yaml", {(1,): 1}, r"has the key \(1,\), a tuple; keys are int and str there"),
        ("yaml", [dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=90)))], "whose offset has seconds"),
        ("yaml", [dt.datetime(2024, 10, 27, 2, 30, fold=1)], "whose fold would be lost"),
        ("toml", {"a": None}, r"value\['a'\] is None, which TOML does not have; leave it out"),
        ("toml", {"a": 2**63}, "more than the 64 bits"),
        ("toml", {"a": dt.time(1, tzinfo=dt.UTC)}, "times have no zone and no fold there"),
    ],
)
def test_what_yaml_and_toml_would_change_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(DatasetFormatError, match=message):
        saved(format_for(name=name, value=value), value)


def test_a_time_zone_that_would_become_an_offset_is_refused() -> None:
    moment = dt.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))
    for name in ("yaml", "toml"):
        with pytest.raises(DatasetFormatError, match="would be loaded as a fixed offset"):
            saved(format_for(name=name, value={}), {"a": moment})


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['touch {}']", "!!python/name:os.system", "!ruby x"])
def test_yaml_makes_no_objects(text: str, tmp_path: pathlib.Path) -> None:
    planted = tmp_path / "planted"
    with pytest.raises(DatasetError, match="cannot be read as yaml: ConstructorError"):
        loaded(format_for(name="yaml", value={}), text.format(planted).encode())
    assert not planted.exists()


# Models


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Shape:
    """One field of every kind that can be written."""

    points: list[Point]
    by_name: dict[str, Point]
    by_number: dict[int, str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    tags: set[str]
    made: dt.datetime
    day: dt.date | None
    price: decimal.Decimal
    code: uuid.UUID
    path: pathlib.PurePosixPath
    colour: Colour
    kind: Literal["a", 1]
    either: int | str
    anything: Any = None
    level: Level = Level.LOW
    length: int = dataclasses.field(init=False, default=3)


SHAPE = Shape(
    points=[Point(1, 2.5)],
    by_name={"p": Point(0.1)},
    by_number={1: "x"},
    pair=(1, "x"),
    many=(1, 2),
    tags={"x", "y"},
    made=dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    day=None,
    price=decimal.Decimal("1.10"),
    code=uuid.UUID(int=7),
    path=pathlib.PurePosixPath("a/b"),
    colour=Colour.RED,
    kind="a",
    either="3",
    anything={"a": [1, None]},
)


class Order(pydantic.BaseModel):
    id: int
    total: decimal.Decimal
    at: dt.datetime
    tags: tuple[str, ...] = ()
    note: str | None = pydantic.Field(default=None, alias="Note")


ORDER = Order(id=1, total=decimal.Decimal("9.90"), at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), tags=("a",), Note="x")


class Row(TypedDict):
    order: Order
    n: int


@pytest.mark.parametrize("name", ["json", "yaml"])
def test_models_come_back_when_their_class_is_given(name: str) -> None:
    assert round_trip(name, SHAPE, Shape) == SHAPE
    assert repr(round_trip(name, SHAPE, Shape).points) == repr(SHAPE.points)
    assert round_trip(name, ORDER, Order) == ORDER
    assert round_trip(name, [ORDER, ORDER], list[Order]) == [ORDER, ORDER]
    assert round_trip(name, {"a": [Point(1.0)]}, dict[str, list[Point]]) == {"a": [Point(1.0)]}
    assert round_trip(name, {"order": ORDER, "n": 1}, Row) == {"order": ORDER, "n": 1}


def test_models_come_back_from_lines_and_tables() -> None:
    assert round_trip("jsonl", [Point(1.5), Point(2)], list[Point]) == [Point(1.5), Point(2)]
    assert round_trip("toml", Point(1.5), Point) == Point(1.5)


def test_without_their_class_models_are_dicts() -> None:
    assert round_trip("json", [Point(1.5)]) == [{"x": 1.5, "y": 0.0}]
    assert round_trip("json", ORDER)["total"] == "9.90"


@dataclasses.dataclass
class Wrong:
    items: list[int]
    when: str | dt.date = ""


@dataclasses.dataclass
class Meeting:
    at: dt.datetime | None = None
    until: dt.time | None = None
    others: set[dt.datetime] = dataclasses.field(default_factory=set)
    rooms: dict[dt.datetime, str] = dataclasses.field(default_factory=dict)


FOLDED = dt.datetime(2024, 10, 27, 2, 30, fold=1)
IN_OSLO = dt.datetime(2024, 3, 30, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Oslo"))
NAMED = dt.datetime(2024, 3, 30, 12, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET"))


@pytest.mark.parametrize(
    ("meeting", "place"),
    [
        (Meeting(at=FOLDED), "at"),
        (Meeting(at=IN_OSLO), "at"),
        (Meeting(at=NAMED), "at"),
        (Meeting(until=FOLDED.time()), "until"),
        (Meeting(others={IN_OSLO}), "others"),
        (Meeting(rooms={FOLDED: "1"}), "rooms"),
    ],
)
@pytest.mark.parametrize("name", ["json", "jsonl", "yaml", "toml"])
def test_a_model_with_a_moment_that_text_does_not_keep_is_refused(name: str, meeting: Meeting, place: str) -> None:
    value: Any = [meeting] if name == "jsonl" else {"a": meeting}
    with pytest.raises(DatasetFormatError, match=rf"value\.{place} .* fold or time zone would be lost\..*\.astimezone"):
        saved(format_for(name=name, value=value), value)


def test_a_model_keeps_moments_in_utc_and_at_an_offset() -> None:
    at = dt.datetime(2024, 3, 30, 12, tzinfo=dt.UTC)
    meeting = Meeting(at, dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=-3))), {at}, {at: "1"})
    assert repr(round_trip("json", meeting, Meeting)) == repr(meeting)


class Lossy(pydantic.BaseModel):
    shown: int
    hidden: int = pydantic.Field(default=0, exclude=True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Wrong(items=(1,)), r"Wrong would not come back as it is: value\.items is not of the type"),  # type: ignore[arg-type]
        (Wrong(items=[True]), r"value\.items\[0\] is True, a bool, not int"),
        (Wrong(items=[], when=dt.date(2024, 1, 1)), r"value\.when is not of the type that its annotation names"),
        (Wrong(items=[object()]), "there is an object in it"),  # type: ignore[list-item]
        (Point(np.float64(1)), "there is a numpy.float64 in it"),
        (Lossy(shown=1, hidden=2), "Lossy would not come back as it is"),
        (Lossy.model_construct(shown="x"), "Lossy cannot be rebuilt"),
    ],
)
def test_a_model_that_would_not_come_back_is_refused(model: Any, message: str) -> None:
    with pytest.raises(DatasetFormatError, match=message):
        saved(format_for(name="json", value=model), [model])


def test_a_model_with_nan_is_refused_like_a_bare_nan() -> None:
    with pytest.raises(DatasetFormatError, match=r"value\['x'\] is nan, which it does not have"):
        saved(format_for(name="json", value=Point(0)), Point(float("nan")))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('{"x": "1"}', Point, r"value\.x is '1', a str, not float"),
        ('{"z": 1}', Point, r"value: .*Point has no field 'z'; it has x, y"),
        ("{}", Point, r"value is no .*Point: .*missing"),
        ('[{"x": 1}, 3]', list[Point], r"value\[1\] is 3, an int, not .*Point"),
        ('{"id": "x"}', Order, r"value is no .*Order: .*validation error"),
        ("[1, 2]", tuple[int], r"value is \[1, 2\], a list, not tuple\[int\]"),
        ('"2024-13-01"', dt.date, "value is no datetime.date"),
        ("[1]", set[str], r"value\[0\] is 1, an int, not str"),
        ("1", bool, "value is 1, an int, not bool"),
        ('{"n": 1}', Row, r"value is \{'n': 1\}, a dict, not .*Row"),
        ("1", range, "a range cannot be made from text"),
    ],
)
def test_a_file_that_is_not_of_the_type_is_refused_with_the_place(text: str, kind: Any, message: str) -> None:
    with pytest.raises(DatasetFormatError, match=message):
        loaded(format_for(name="json", value={}), text.encode(), kind)


def test_a_damaged_line_is_named() -> None:
    with pytest.raises(DatasetError, match="cannot be read as jsonl: line 2: "):
        loaded(format_for(name="jsonl", value=[]), b"1\n{\n")


# CSV


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, {"a": 1, "b": 2}], "row 1 has 'b' too; csv has the same columns in all rows, here a"),
        ([{"a": 1, "b": 2}, {"a": 1}], "row 1 has no 'b'"),
        ([{"a": 1}, [1]], "row 1 is a list, after a dict"),
        ([[1], {"a": 1}], "row 1 is a dict, after a list"),
        ([[1, 2], [1]], "row 1 has 1 cells, and the first has 2"),
        ([[]], r"at least one cell; this one is \[\]"),
        ([{}], r"at least one cell; this one is \{\}"),
        ([{1: 1}], "names that are text, not 1"),
        ([{"a": [1]}], "row 0 holds a list; a cell of csv is text"),
        ([{"a": "x" * 200_000}], "a cell of 200000 characters, and the csv module reads 131072 at most"),
    ],
)
def test_rows_that_csv_cannot_hold_are_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(DatasetFormatError, match=message):
        saved(format_for(name="csv", value=rows), rows)


def test_cells_become_their_text() -> None:
    row = {"i": 1, "f": 0.1, "b": True, "n": None, "d": dt.date(2024, 1, 2), "x": decimal.Decimal("1.0"), "s": "é"}
    back = round_trip("csv", [row])
    assert back == [{"i": "1", "f": "0.1", "b": "True", "n": "", "d": "2024-01-02", "x": "1.0", "s": "é"}]


def test_the_dialect_can_be_chosen() -> None:
    rows = [{"a": "1;2", "b": "x"}]
    chosen = format_for(name="csv", value=rows)
    data = saved(chosen, rows, delimiter=";", quotechar="'", lineterminator="\n")
    assert data == b"a;b\n'1;2';x\n"
    assert loaded(chosen, data, delimiter=";", quotechar="'") == rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\r\n1\r\n", "row 2 has 1 cells, not 2"),
        (b"a,a\r\n1,2\r\n", "a column name twice"),
        (b'a\r\n"x', "unexpected end"),
    ],
)
def test_a_csv_that_is_no_table_of_dicts_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        loaded(format_for(name="csv", value=[]), data)
    if b'"' not in data:
        assert len(loaded(format_for(name="csv", value=[]), data, list[list[str]])) == 2
