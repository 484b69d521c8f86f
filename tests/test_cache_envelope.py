"""Values into entries and back: equal value, equal type, writable, without copies; the order of the codecs; frames."""

from __future__ import annotations

import enum
import mmap
import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.cache import _codec
from eagerly.cache._codec import (
    CLOUDPICKLE,
    PICKLE,
    RAW,
    SAFE,
    STREAM,
    TEXT,
    iter_frames,
    pack_item,
    size_of,
    unpack_item,
)
from eagerly.cache._envelope import Envelopes
from eagerly.cache._immutable import is_immutable
from eagerly.cache._protocol import Buffer
from eagerly.errors import CacheError, CorruptEntryError

KEY = b"k" * 20
OTHER_KEY = b"o" * 20
NOW = 1_000.0


class Color(enum.Enum):
    RED = "red"


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return type(other) is Point and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)


def entry_of(parts: Sequence[Buffer]) -> bytes:
    return b"".join(parts)


def round_trip(envelopes: Envelopes, value: object) -> Any:
    unpacked = envelopes.unpack(KEY, entry_of(envelopes.pack(KEY, value)), now=NOW)
    assert unpacked is not None
    return unpacked.value


def map_file(path: Path) -> memoryview:
    """The file as the disk store hands it over: a mapping whose pages are copied when they are written to."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def write(path: Path, parts: Sequence[Buffer]) -> Path:
    with path.open("wb") as file:
        file.writelines(parts)
    return path


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def same(left: object, right: object) -> bool:
    """Equal, and of the same types all the way down, which ``==`` does not tell: ``1 == True == 1.0``."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))  # type: ignore[arg-type]
    if isinstance(left, dict):
        pairs = zip(left.items(), right.items(), strict=True)  # type: ignore[attr-defined]
        return all(same(mine, theirs) for mine, theirs in pairs)
    return left == right


@pytest.mark.parametrize(
    "envelopes",
    [Envelopes(), Envelopes(signing_key=b"s" * 32), Envelopes(verify=True)],
    ids=["plain", "signed", "verify"],
)
@given(value=VALUES)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_a_value_comes_back_equal_and_of_the_same_type(envelopes: Envelopes, value: object) -> None:
    assert same(round_trip(envelopes, value), value)


@given(meta=st.binary(max_size=300), key=st.binary(max_size=40), expires=st.none() | st.floats(NOW + 1, 1e12))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_what_stands_around_the_value_comes_back_too(meta: bytes, key: bytes, expires: float | None) -> None:
    envelopes = Envelopes(signing_key=b"s" * 32)
    data = entry_of(envelopes.pack(key, [1], expires=expires, meta=meta))
    unpacked = envelopes.unpack(key, data, now=NOW)
    assert unpacked is not None
    assert (unpacked.value, unpacked.expires, unpacked.meta, unpacked.codec) == ([1], expires, meta, PICKLE)
    header = envelopes.peek(data)
    assert (header.key, header.expires, header.meta, header.signed, header.size) == (
        key,
        expires,
        meta,
        True,
        len(data),
    )


def test_peek_does_not_unpickle() -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("unpickled",)

    header = Envelopes().peek(entry_of(Envelopes().pack(KEY, Trap(), meta=b"{}")))
    assert (header.codec_name, header.meta, header.buffers) == ("pickle", b"{}", ())


def test_peek_tells_the_sizes_of_the_buffers() -> None:
    data = entry_of(Envelopes().pack(KEY, {"a": np.zeros(1000), "b": np.zeros(5000, "u1"), "c": np.zeros(10)}))
    assert Envelopes().peek(data).buffers == (8000, 5000)


def test_an_entry_ends_when_it_says() -> None:
    data = entry_of(Envelopes().pack(KEY, 1, expires=NOW))
    assert Envelopes().unpack(KEY, data, now=NOW - 0.001) is not None
    assert Envelopes().unpack(KEY, data, now=NOW) is None
    assert Envelopes().unpack(KEY, data, now=NOW + 1) is None


def test_a_cached_none_is_no_expired_entry() -> None:
    unpacked = Envelopes().unpack(KEY, entry_of(Envelopes().pack(KEY, None)), now=NOW)
    assert unpacked is not None
    assert unpacked.value is None


@pytest.mark.parametrize(
    ("value", "codec"),
    [
        (b"raw", RAW),
        (b"r" * 100_000, RAW),
        ("text\ud800", TEXT),
        ("t" * 100_000, TEXT),
        (bytearray(b"x"), PICKLE),
        ({"a": 1}, PICKLE),
        (Point(1), PICKLE),
        (Color.RED, PICKLE),
    ],
)
def test_the_simplest_codec_that_fits(value: object, codec: int) -> None:
    data = entry_of(Envelopes().pack(KEY, value))
    assert Envelopes().peek(data).codec == codec
    assert round_trip(Envelopes(), value) == value


def test_what_pickle_refuses_goes_through_cloudpickle() -> None:
    offset = 2

    class Local:
        x = 7

    value = {"big": np.arange(1000), "add": lambda number: number + offset, "local": Local()}
    data = entry_of(Envelopes().pack(KEY, value))
    assert Envelopes().peek(data).codec == CLOUDPICKLE
    assert Envelopes().peek(data).buffers == (8000,)
    again = round_trip(Envelopes(), value)
    assert (again["add"](1), again["local"].x, again["big"][-1]) == (3, 7, 999)


@pytest.mark.parametrize("value", [(each for each in ()), OrderedDict(a=sys._getframe())], ids=["generator", "frame"])
def test_what_nothing_takes_is_an_error_that_names_the_type(value: object) -> None:
    with pytest.raises(
        CacheError, match=rf"{type(value).__qualname__} cannot be stored: neither pickle nor cloudpickle"
    ):
        Envelopes().pack(KEY, value)


def test_an_error_while_pickling_is_the_cause() -> None:
    class Broken:
        def __reduce__(self) -> tuple[Any, ...]:
            raise ZeroDivisionError("in __reduce__")

    with pytest.raises(CacheError, match="ZeroDivisionError: in __reduce__") as caught:
        Envelopes().pack(KEY, Broken())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_value_nested_too_deep_is_an_error() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CacheError, match="RecursionError"):
        Envelopes().pack(KEY, value)


def test_interrupts_pass_through_packing_and_unpacking() -> None:
    class Interrupted:
        def __reduce__(self) -> tuple[Any, ...]:
            raise KeyboardInterrupt

    class Interrupting:
        def __reduce__(self) -> tuple[Any, ...]:
            return sys.exit, (3,)

    with pytest.raises(KeyboardInterrupt):
        Envelopes().pack(KEY, Interrupted())
    data = entry_of(Envelopes().pack(KEY, Interrupting()))
    with pytest.raises(SystemExit):
        Envelopes().unpack(KEY, data, now=NOW)


MAIN = """
    import sys
    from pathlib import Path
    from eagerly.cache._envelope import Envelopes
    from eagerly.errors import CorruptEntryError

    class Result:
        def __init__(self, x):
            self.x = x

    path = Path(sys.argv[1])
    if sys.argv[2] == "write":
        value = Result(lambda: 3) if sys.argv[3] == "cloudpickle" else Result(3)
        path.write_bytes(b"".join(Envelopes().pack(b"k", value)))
    else:
        value = Envelopes().unpack(b"k", path.read_bytes(), now=0.0).value
        print(type(value) is Result, value.x() if callable(value.x) else value.x)
"""


@pytest.mark.parametrize("codec", ["pickle", "cloudpickle"])
def test_classes_of_main_go_by_reference(tmp_path: Path, codec: str) -> None:
    script, entry = tmp_path / "script.py", tmp_path / "entry"
    script.write_text(textwrap.dedent(MAIN))
    for step in ("write", "read"):
        done = subprocess.run(
            [sys.executable, script, entry, step, codec], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "True 3\n"
    assert Envelopes().peek(entry.read_bytes()).codec_name == codec
    with pytest.raises(CorruptEntryError, match="AttributeError") as caught:  # this program's __main__ has no Result
        Envelopes().unpack(b"k", entry.read_bytes(), now=0.0)
    assert isinstance(caught.value.__cause__, AttributeError)


ARRAYS: dict[str, Any] = {
    "plain": np.arange(100_000.0),
    "columns": np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "strided": np.arange(100_000)[::3],
    "small": np.arange(5),
    "empty": np.zeros((0, 4)),
    "dates": np.arange("2020-01-01", "2090-01-01", dtype="M8[D]"),
    "records": np.zeros(5000, [("a", "<i4"), ("b", ">f8", (2,))]),
    "objects": np.array([{"a": 1}, None], dtype=object),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("how", ["bytes", "bytearray", "mapped", "readonly view"])
def test_arrays_come_back_writable_however_they_are_read(tmp_path: Path, array: Any, how: str) -> None:
    parts = Envelopes().pack(KEY, array)
    data: Any = entry_of(parts)
    if how == "bytearray":
        data = bytearray(data)
    elif how == "readonly view":
        data = memoryview(data)
    elif how == "mapped":
        data = map_file(write(tmp_path / "entry", parts))
    before = bytes(data)
    again = Envelopes().unpack(KEY, data, now=NOW)
    assert again is not None
    np.testing.assert_array_equal(again.value, array)
    assert (again.value.dtype, type(again.value), again.value.flags.writeable) == (array.dtype, np.ndarray, True)
    again.value[...] = array[::-1] if array.ndim == 1 else 7
    if how in ("bytes", "readonly view"):
        assert bytes(data) == before


def test_two_readers_of_the_same_bytes_share_nothing() -> None:
    data = entry_of(Envelopes().pack(KEY, {"big": np.zeros(1000), "small": np.zeros(3), "bytes": bytearray(5)}))
    first, second = (Envelopes().unpack(KEY, data, now=NOW) for _ in range(2))
    assert first is not None
    assert second is not None
    for name in first.value:
        first.value[name][0] = 1
        assert second.value[name][0] == 0


def test_a_readonly_array_stays_readonly() -> None:
    array = np.arange(10_000)
    array.flags.writeable = False
    assert not round_trip(Envelopes(), array).flags.writeable


@pytest.mark.parametrize("safe", [False, True])
def test_a_large_array_is_neither_copied_when_packed_nor_when_mapped(tmp_path: Path, safe: bool) -> None:
    array = np.random.default_rng(0).random(13_107_200)  # 100 MiB
    envelopes = Envelopes(safe=safe)
    parts = envelopes.pack(KEY, array)
    assert size_of(parts) - array.nbytes < 1000
    assert any(np.shares_memory(np.frombuffer(part, "u1"), array) for part in parts if len(part) > 1000)
    path = write(tmp_path / "entry", parts)
    del parts
    mapping = map_file(path)
    unpacked = envelopes.unpack(KEY, mapping, now=NOW)
    assert unpacked is not None
    assert np.shares_memory(unpacked.value, np.frombuffer(mapping, "u1"))
    assert unpacked.value.ctypes.data % 64 == 0
    del mapping
    path.unlink()
    np.testing.assert_array_equal(unpacked.value, array)  # it has kept the mapping alive
    unpacked.value[0] = -1.0
    assert unpacked.value[0] == -1.0


def test_every_buffer_is_aligned(tmp_path: Path) -> None:
    value = [np.arange(size, dtype="u1") for size in (4096, 4097, 5000, 4999, 70_000)]
    again = Envelopes().unpack(KEY, map_file(write(tmp_path / "entry", Envelopes().pack(KEY, value))), now=NOW)
    assert again is not None
    assert [each.ctypes.data % 64 for each in again.value] == [0] * 5
    assert all(map(np.array_equal, again.value, value))


@pytest.mark.parametrize("safe", [False, True])
def test_tables_come_back_writable(tmp_path: Path, safe: bool) -> None:
    frame = pd.DataFrame({"a": np.arange(3000.0), "b": np.arange(3000), "c": ["x", "y", "z"] * 1000})
    envelopes = Envelopes(safe=safe)
    parts = envelopes.pack(KEY, frame)
    for data in (entry_of(parts), map_file(write(tmp_path / "entry", parts))):
        again = envelopes.unpack(KEY, data, now=NOW)
        assert again is not None
        pd.testing.assert_frame_equal(again.value, frame)
        again.value.loc[0, "a"] = 7.0
        again.value["b"] += 1
        assert again.value.loc[0, "a"] == 7.0


def test_a_polars_frame_comes_back() -> None:
    frame = pl.DataFrame({"a": [1, None, 3], "b": ["x", "y", None], "c": [[1], [], [2, 3]]})
    assert round_trip(Envelopes(), frame).equals(frame)


# --- frames of recorded streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("safe", [False, True])
@given(value=VALUES)
@settings(derandomize=True, max_examples=100, deadline=None)
def test_an_item_comes_back(safe: bool, value: object) -> None:
    assert same(unpack_item(pack_item(value, safe=safe), safe=safe), value)


def frames_of(unpacked: Any) -> list[memoryview]:
    assert unpacked.codec == STREAM
    return list(iter_frames(unpacked.value))


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("how", ["one by one", "joined"])
def test_a_recorded_stream_comes_back_item_by_item(tmp_path: Path, safe: bool, how: str) -> None:
    items: list[Any] = [1, "two", None, np.arange(2000.0), [3], np.arange(3), b"x" * 5000, {"four": 4}]
    envelopes = Envelopes(safe=safe)
    frames = [pack_item(item, safe=safe) for item in items]
    parts = envelopes.pack_frames(
        KEY, frames if how == "one by one" else [b"".join(frames)], expires=NOW + 1, meta=b"m"
    )
    for data in (entry_of(parts), map_file(write(tmp_path / "entry", parts))):
        unpacked = envelopes.unpack(KEY, data, now=NOW)
        assert unpacked is not None
        assert (unpacked.expires, unpacked.meta) == (NOW + 1, b"m")
        again = [unpack_item(frame, safe=safe) for frame in frames_of(unpacked)]
        np.testing.assert_equal(again, items)
        assert [type(item) for item in again] == [type(item) for item in items]
        again[3][0] = 7.0


def test_a_stream_without_items() -> None:
    unpacked = Envelopes().unpack(KEY, entry_of(Envelopes().pack_frames(KEY, [])), now=NOW)
    assert frames_of(unpacked) == []


def test_many_small_frames_are_few_parts() -> None:
    parts = Envelopes().pack_frames(KEY, [pack_item(number, safe=False) for number in range(10_000)])
    assert len(parts) < 5
    unpacked = Envelopes().unpack(KEY, entry_of(parts), now=NOW)
    assert [unpack_item(frame, safe=False) for frame in frames_of(unpacked)] == list(range(10_000))


def test_damage_in_a_long_stream_is_found_before_its_first_item() -> None:
    parts = Envelopes().pack_frames(KEY, [pack_item(np.full(100_000, number), safe=False) for number in range(5)])
    data = bytearray(entry_of(parts))
    data[-100] ^= 1
    with pytest.raises(CorruptEntryError, match="checksum"):
        Envelopes().unpack(KEY, data, now=NOW)


# --- what may be shared ----------------------------------------------------------------------------------------------

IMMUTABLE: list[Any] = [
    *(None, True, 1, 1.5, 1j, "x", b"x", ..., range(3), (), (1, ("a", frozenset({2}))), frozenset({1})),
    *(date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), timedelta(1), Decimal(1), Fraction(1, 2), UUID(int=1)),
    *(PurePosixPath("a"), Color.RED, np.float64(1), np.datetime64("2020")),
]
MUTABLE: list[Any] = [
    *([], {}, set(), bytearray(), (1, [2]), (((({},),),),), np.zeros(1), np.zeros(1, "i4,i4")[0], Point(1), object()),
    *(type("Number", (int,), {})(1), type("Text", (str,), {})("x"), type("Pair", (tuple,), {})((1,)), OrderedDict()),
    *(tuple(range(20_000)), pd.DataFrame(), iter(())),
]


@pytest.mark.parametrize("value", IMMUTABLE, ids=repr)
def test_immutable(value: object) -> None:
    assert is_immutable(value)


@pytest.mark.parametrize("value", MUTABLE, ids=lambda value: type(value).__name__)
def test_not_immutable(value: object) -> None:
    assert not is_immutable(value)


def test_how_deep_a_tuple_is_does_not_matter_to_the_stack() -> None:
    value: tuple[Any, ...] = ()
    for _ in range(50_000):
        value = (value,)
    assert not is_immutable(value)


def test_size_of_counts_bytes_and_not_items() -> None:
    assert size_of([b"abc", bytearray(2), memoryview(np.zeros(10))]) == 85


def test_the_codec_names_are_complete() -> None:
    assert {_codec.codec_name(each) for each in (RAW, TEXT, PICKLE, CLOUDPICKLE, SAFE, STREAM)} == {
        *("bytes", "str", "pickle", "cloudpickle", "safe", "stream")
    }
    assert _codec.codec_name(99) == "codec 99"
