"""NaN is one value in the columns and arrays of every library, though its sign and payload differ."""

from __future__ import annotations

import array
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from eagerly.cache._encode import encode


def key(value: Any) -> bytes:
    return encode(value, "argument 'x'")


def stdlib(values: Any) -> Any:
    made = array.array(values.dtype.char)
    made.frombytes(values.tobytes())
    return made


def complex_of(values: Any) -> Any:
    made = np.zeros(len(values), f"c{2 * values.itemsize}")
    made.real, made.imag = values, values
    return made


def structured(values: Any) -> Any:
    made = np.zeros(len(values), [("a", "i1"), ("b", values.dtype)])
    made["b"] = values
    return made


def arrow_with_nulls(values: Any) -> Any:
    return pa.array(values, mask=np.arange(len(values)) % 3 == 0)


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "array": lambda values: values,
    "matrix": lambda values: np.stack([values, values]),
    "strided": lambda values: np.repeat(values, 2)[::2],
    "big-endian": lambda values: values.view(f"u{values.itemsize}").byteswap().view(f">f{values.itemsize}"),
    "complex": complex_of,
    "structured": structured,
    "masked": lambda values: np.ma.masked_array(values, mask=np.zeros(len(values), bool)),
    "stdlib": stdlib,
    "pandas": pd.Series,
    "pandas frame": lambda values: pd.DataFrame({"a": values, "b": 1}),
    "pandas index": pd.Index,
    "pandas sparse": lambda values: pd.Series(pd.arrays.SparseArray(values, fill_value=7.0)),
    "pandas arrow": lambda values: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values))),
    "polars": pl.Series,
    "polars list": lambda values: pl.Series([pl.Series(values)]),
    "arrow": pa.array,
    "arrow chunked": lambda values: pa.chunked_array([values, values]),
    "arrow with nulls": arrow_with_nulls,
    "arrow struct": lambda values: pa.StructArray.from_arrays([pa.array(values)], ["a"]),
}
WITHOUT_HALF = {"complex", "stdlib", "pandas index", "polars", "polars list"}
NANS = {
    2: (0x7E00, 0xFE00, 0xFE01, 0x7C01),
    4: (0x7FC00000, 0xFFC00000, 0xFFC00001, 0x7F800001),
    8: (0x7FF8 << 48, 0xFFF8 << 48, 0xFFF8 << 48 | 1, 0x7FF0 << 48 | 1),
}
"""By size: the usual one, that of 0.0 / 0.0 on x86, one with a payload, one that signals."""


def with_bits(size: int, count: int, bits: int) -> Any:
    values = np.ones(count, f"f{size}")
    values.view(f"u{size}")[count // 2] = bits
    return values


@pytest.mark.parametrize("count", [3, 40_000, 600_000])
@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("holder", HOLDERS)
def test_all_nans_are_one_value(holder: str, size: int, count: int) -> None:
    if size == 2 and holder in WITHOUT_HALF:
        return
    make = HOLDERS[holder]
    assert len({key(make(with_bits(size, count, bits))) for bits in NANS[size]}) == 1


@pytest.mark.parametrize("count", [3, 40_000])
@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("holder", HOLDERS)
def test_nothing_else_is_nan(holder: str, size: int, count: int) -> None:
    if size == 2 and holder in WITHOUT_HALF:
        return
    made = []
    for odd in (np.nan, np.inf, -np.inf, 0.0, -0.0, 2.0):
        values = np.ones(count, f"f{size}")
        values[count // 2] = odd
        made.append(HOLDERS[holder](values))
    assert len({key(each) for each in made}) == 6


def test_where_nan_is_counts() -> None:
    assert key(np.array([1.0, np.nan, 2.0])) != key(np.array([np.nan, 1.0, 2.0])) != key(np.array([1.0, 2.0]))


@pytest.mark.parametrize("letter", ["g", "G"])
def test_nans_of_long_doubles_are_one_value(letter: str) -> None:
    one = np.array([1, np.nan, 2], letter)
    other = one.copy()
    other.view("g")[:] = one.view("g")
    parts = other.view("g")
    parts[np.isnan(parts)] = -parts[np.isnan(parts)]  # only the sign differs
    assert other.tobytes() != one.tobytes()
    assert key(one) == key(other) != key(np.array([1, np.inf, 2], letter))


def test_the_array_itself_is_not_changed() -> None:
    values = with_bits(8, 40_000, NANS[8][2])
    before = values.tobytes()
    values.flags.writeable = False
    key(values)
    assert values.tobytes() == before


def test_ints_with_the_bits_of_nan_are_ints() -> None:
    assert len({key(np.full(3, bits, "u8")) for bits in NANS[8]}) == 4


WITHOUT_NUMPY = """
import array, hashlib, math, sys
from eagerly.cache._encode import encode
from eagerly.cache._encode_buffers import bounded
assert "numpy" not in sys.modules
found = []
for count in (3, 40_000):
    for code, other in (("d", b"\\x01" + bytes(5) + b"\\xf8\\xff"), ("f", b"\\x01\\x00\\xc0\\xff")):
        one = array.array(code, [1.0, math.nan] + [math.inf, -math.inf] * count)
        odd = array.array(code, one)
        size = one.itemsize
        raw = bytearray(one.tobytes())
        raw[size : 2 * size] = other
        odd = array.array(code)
        odd.frombytes(raw)
        assert encode(one, "") == encode(odd, "")
        found.append(hashlib.sha256(encode(odd, "")).hexdigest())
print(*found)
"""


def test_it_makes_no_difference_whether_numpy_is_there() -> None:
    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert len(run(WITHOUT_NUMPY).split()) == 4
    assert run(WITHOUT_NUMPY) == run("import numpy\n" + WITHOUT_NUMPY.replace("not in sys", "in sys"))
