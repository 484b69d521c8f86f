"""Damaged, foreign and forged entries: always `CorruptEntryError`, never another exception, a wrong value, or memory by
a length that somebody wrote there."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.cache import _safe
from eagerly.cache._codec import SAFE, STREAM, decode_value, iter_frames, pack_item, unpack_item
from eagerly.cache._envelope import Envelopes
from eagerly.errors import CorruptEntryError, UntrustedEntryError

KEY = b"k" * 20
OTHER_KEY = b"o" * 20
NOW = 1_000.0
SIGNING_KEY = b"s" * 32
HEADER = struct.Struct("<8sIBBHIIIdQQI")
NAMES = ("start", "sum", "codec", "flags", "reserved", "key", "meta", "count", "expires", "body", "size", "bulk")

VALUES: dict[str, Any] = {
    "int": 5,
    "str": "text",
    "bytes": b"raw bytes",
    "dict": {"a": [1, 2.5, None], "b": "x"},
    "array": np.arange(600.0),
    "arrays": [np.arange(600.0), b"between", np.arange(700)],
    "long bytes": b"x" * 5000,
}
PLAIN, SAFELY, SIGNED = Envelopes(), Envelopes(safe=True), Envelopes(signing_key=SIGNING_KEY)
MODES = pytest.mark.parametrize("envelopes", [PLAIN, SAFELY], ids=["pickle", "safe"])
ENTRIES = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


def pack(envelopes: Envelopes, value: object) -> bytes:
    return b"".join(envelopes.pack(KEY, value, expires=NOW + 60, meta=b'{"meta": 1}'))


def stream(envelopes: Envelopes) -> bytes:
    safe = envelopes is SAFELY
    frames = [pack_item(item, safe=safe) for item in (1, "two", np.arange(600.0))]
    return b"".join(envelopes.pack_frames(KEY, frames, expires=NOW + 60, meta=b'{"meta": 1}'))


def refuses(envelopes: Envelopes, data: bytes, kind: Any = CorruptEntryError) -> None:
    with pytest.raises(kind):
        envelopes.unpack(KEY, data, now=NOW)
    with pytest.raises(kind):
        envelopes.unpack(KEY, bytearray(data), now=NOW)


def forge(data: bytes, *, content: bytes | None = None, table: list[int] | None = None, **fields: Any) -> bytes:
    """`data` with other fields, and the checksum that belongs to them: damage that only looking closer can find."""
    header = dict(zip(NAMES, HEADER.unpack_from(data), strict=True))
    key_and_meta = data[HEADER.size :][: header["key"] + header["meta"]]
    at = HEADER.size + len(key_and_meta)
    lengths = data[at : at + 8 * header["count"]] if table is None else struct.pack(f"<{len(table)}Q", *table)
    rest = data[at + 8 * header["count"] :]
    body, bulk = rest[: header["body"]], rest[header["body"] :]
    body = body if content is None else content
    header |= {"body": len(body), "count": len(lengths) // 8}
    header["size"] = HEADER.size + len(key_and_meta) + len(lengths) + len(body) + len(bulk)
    header |= fields
    packed = HEADER.pack(*header.values())
    split = packed[12:] + key_and_meta + lengths + body
    return packed[:8] + zlib.crc32(split).to_bytes(4, "little") + split + bulk


@MODES
@ENTRIES
def test_cut_short_anywhere(envelopes: Envelopes, value: object) -> None:
    data = pack(envelopes, value)
    for length in range(len(data)):
        with pytest.raises(CorruptEntryError):
            envelopes.unpack(KEY, data[:length], now=NOW)
        with pytest.raises(CorruptEntryError):
            envelopes.peek(data[:length])


@MODES
@ENTRIES
def test_one_bit_flipped_anywhere(envelopes: Envelopes, value: object) -> None:
    data = bytearray(pack(envelopes, value))
    for at in range(len(data)):
        for bit in (0x01, 0x80) if at > 200 else (1 << each for each in range(8)):
            data[at] ^= bit
            with pytest.raises(CorruptEntryError):
                envelopes.unpack(KEY, bytes(data), now=NOW)
            data[at] ^= bit
    assert envelopes.unpack(KEY, bytes(data), now=NOW) is not None


@MODES
def test_a_stream_cut_short_or_flipped_anywhere(envelopes: Envelopes) -> None:
    data = bytearray(stream(envelopes))
    for at in range(len(data)):
        refuses(envelopes, bytes(data[:at]))
        data[at] ^= 0x10
        refuses(envelopes, bytes(data))
        data[at] ^= 0x10


def test_a_signed_entry_cut_short_or_flipped_anywhere() -> None:
    data = bytearray(pack(SIGNED, {"a": 1}))
    for at in range(len(data)):
        refuses(SIGNED, bytes(data[:at]), CorruptEntryError)
        for bit in range(8):
            data[at] ^= 1 << bit
            refuses(SIGNED, bytes(data), (CorruptEntryError, UntrustedEntryError))
            refuses(PLAIN, bytes(data), CorruptEntryError)  # the signature is under the checksum too
            data[at] ^= 1 << bit


@MODES
@ENTRIES
def test_anything_behind_an_entry(envelopes: Envelopes, value: object) -> None:
    for more in (b"\0", b"x" * 64, pack(envelopes, value)):
        refuses(envelopes, pack(envelopes, value) + more)


@MODES
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\x93EAGER\n",
        b"\0" * 56,
        b"\xff" * 4096,
        b"\x80\x05N.",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"{}" * 50,
    ],
    ids=["empty", "a byte", "magic", "zeros", "ones", "pickle", "png", "json"],
)
def test_foreign_bytes(envelopes: Envelopes, data: bytes) -> None:
    refuses(envelopes, data)
    with pytest.raises(CorruptEntryError):
        envelopes.peek(data)


@given(data=st.binary(max_size=300))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_random_bytes(data: bytes) -> None:
    for envelopes in (PLAIN, SAFELY, SIGNED):
        refuses(envelopes, data)
        refuses(envelopes, pack(PLAIN, 1)[:8] + data)


@given(data=st.data())
@settings(derandomize=True, max_examples=200, deadline=None)
def test_several_bytes_replaced(data: st.DataObject) -> None:
    good = pack(PLAIN, VALUES["arrays"])
    at = data.draw(st.integers(0, len(good) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=100))
    bad = (good[:at] + piece + good[at + len(piece) :])[: len(good)]
    if bad != good:
        refuses(PLAIN, bad)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_format_version(version: int) -> None:
    data = bytearray(pack(PLAIN, 1))
    data[7] = version
    with pytest.raises(CorruptEntryError, match=f"format version {version}; this version of eagerly reads 1"):
        PLAIN.unpack(KEY, data, now=NOW)
    with pytest.raises(CorruptEntryError, match="format version"):
        PLAIN.peek(data)


def test_forging_as_these_tests_do_gives_valid_entries() -> None:
    data = pack(PLAIN, VALUES["arrays"])
    assert forge(data) == data


HUGE = (2**32 - 1, 2**31)
HUGER = (2**64 - 1, 2**63, 2**63 - 1, 2**40)


@ENTRIES
@pytest.mark.parametrize(
    ("field", "forged"),
    [
        *(("key", each) for each in (0, 1, 19, 21, *HUGE)),
        *(("meta", each) for each in (0, 10, 12, *HUGE)),
        *(("count", each) for each in (3, 7, 1000, *HUGE)),
        *(("body", each) for each in (0, 1, *HUGE, *HUGER)),
        *(("size", each) for each in (0, 1, 56, *HUGE, *HUGER)),
        *(("codec", each) for each in (0, 7, 99, 255)),
        *(("flags", each) for each in (1, 3, 4, 128, 255)),
        *(("reserved", each) for each in (1, 65535)),
    ],
)
def test_a_forged_field_with_a_valid_checksum(value: object, field: str, forged: int) -> None:
    data = pack(PLAIN, value)
    if dict(zip(NAMES, HEADER.unpack_from(data), strict=True))[field] == forged:
        return
    refuses(PLAIN, forge(data, **{field: forged}))


@pytest.mark.parametrize(
    "table",
    [
        *([], [4800], [4800, 5600, 0], [0, 0], [4801, 5600], [4800, 5599], [5600, 4800 + 64], [2**64 - 1, 5600]),
        *([2**63, 2**63], [4800, 2**64 - 4800], [2**64 - 64, 5600], [4800 + 5600 + 64, 2**64 - 64]),
    ],
    ids=str,
)
def test_forged_lengths_of_buffers(table: list[int]) -> None:
    """They cannot overlap or be negative: there are only lengths, and they have to add up to the size."""
    refuses(PLAIN, forge(pack(PLAIN, VALUES["arrays"]), table=table))


def test_buffers_that_add_up_but_are_not_those_of_the_value() -> None:
    value = [np.arange(512.0), np.arange(512.0)]
    good = forge(pack(PLAIN, value), table=[4096 - 64, 4096 + 64], flags=0)
    with pytest.raises(CorruptEntryError) as caught:
        PLAIN.unpack(KEY, good, now=NOW)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_value_is_no_stream() -> None:
    refuses(PLAIN, forge(pack(PLAIN, 5), codec=STREAM))
    refuses(PLAIN, forge(pack(PLAIN, VALUES["array"]), codec=STREAM))
    refuses(PLAIN, forge(pack(PLAIN, VALUES["arrays"]), codec=STREAM))
    with pytest.raises(CorruptEntryError):  # built like one, so that it shows at the first item
        unpacked = PLAIN.unpack(KEY, forge(pack(PLAIN, VALUES["long bytes"]), codec=STREAM), now=NOW)
        list(iter_frames(unpacked.value))  # type: ignore[union-attr]


def test_an_expiry_that_is_no_number_has_passed() -> None:
    assert PLAIN.unpack(KEY, forge(pack(PLAIN, 1), expires=float("nan")), now=NOW) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and a limit of address space")
def test_no_memory_is_allocated_by_a_forged_length(tmp_path: Path) -> None:
    """In a process that may only grow by 64 MB, to believe a length would be a MemoryError."""
    entries = []
    good = pack(PLAIN, VALUES["dict"])
    for field in ("key", "meta", "count", "body", "size"):
        entries += [forge(good, **{field: each}) for each in (2**31, 2**32 - 1)]
    entries += [
        forge(good, codec=SAFE, content=tag + b"\xff" + struct.pack("<Q", 2**40)) for tag in (b"i", b"l", b"t", b"d")
    ]
    entries += [
        forge(good, codec=SAFE, content=tag + b"\0\xff" + struct.pack("<Q", 2**40)) for tag in (b"b", b"s", b"a")
    ]
    (tmp_path / "entries").write_bytes(b"".join(struct.pack("<Q", len(each)) + each for each in entries))
    script = """
        import resource, sys
        from pathlib import Path
        from eagerly.cache._envelope import Envelopes
        from eagerly.errors import CorruptEntryError

        data, count = Path(sys.argv[1]).read_bytes(), 0
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        while data:
            size = int.from_bytes(data[:8], "little")
            try:
                Envelopes().unpack(b"k" * 20, data[8 : 8 + size], now=0.0)
            except CorruptEntryError as error:
                assert not isinstance(error.__cause__, MemoryError), error
                count += 1
            data = data[8 + size :]
        try:
            bytearray(2**31 - 1)
        except MemoryError:
            print(count)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "entries"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == f"{len(entries)}\n", done.stderr


def test_a_pickle_that_asks_for_too_much_memory_is_corrupt() -> None:
    body = b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"."  # BYTEARRAY8 of that many bytes
    with pytest.raises(CorruptEntryError) as caught:
        PLAIN.unpack(KEY, forge(pack(PLAIN, {"a": 1}), content=body), now=NOW)
    assert caught.value.__cause__ is not None


class Raises:
    """Raises when it is unpickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return throw, (self.error,)


def throw(error: type[BaseException]) -> None:
    raise error("while unpickling")


@pytest.mark.parametrize(
    "error",
    [ImportError, AttributeError, TypeError, ValueError, EOFError, RecursionError, MemoryError, OSError, StopIteration],
)
def test_whatever_unpickling_raises_is_the_cause(error: type[Exception]) -> None:
    data = pack(PLAIN, [Raises(error)])
    with pytest.raises(CorruptEntryError, match=rf"{error.__name__}: while unpickling") as caught:
        PLAIN.unpack(KEY, data, now=NOW)
    assert type(caught.value.__cause__) is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_are_not_taken_for_damage(error: type[BaseException]) -> None:
    with pytest.raises(error):
        PLAIN.unpack(KEY, pack(PLAIN, [Raises(error)]), now=NOW)


def test_a_panic_of_a_rust_extension_is_damage() -> None:
    panic = pl.exceptions.PanicException
    assert not issubclass(panic, Exception)
    with pytest.raises(CorruptEntryError, match="PanicException"):
        PLAIN.unpack(KEY, pack(PLAIN, [Raises(panic)]), now=NOW)


# --- keys ------------------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("key", [OTHER_KEY, b"", KEY[:-1], KEY + b"k"])
def test_a_valid_entry_under_another_key(envelopes: Envelopes, key: bytes) -> None:
    with pytest.raises(CorruptEntryError, match="stored under another key"):
        envelopes.unpack(key, pack(envelopes, 1), now=NOW)


# --- large entries ---------------------------------------------------------------------------------------------------


def large(envelopes: Envelopes) -> bytearray:
    return bytearray(b"".join(envelopes.pack(KEY, np.arange(200_000.0))))


def test_a_large_entry_has_a_checksum_of_its_buffers_on_request_only() -> None:
    strict = Envelopes(verify=True)
    for damaged in (large(PLAIN), large(strict)):
        damaged[-1] ^= 1
        assert PLAIN.unpack(KEY, damaged, now=NOW) is not None  # not asked for: not read
    damaged = large(strict)
    assert strict.unpack(KEY, damaged, now=NOW) is not None
    damaged[-1] ^= 1
    with pytest.raises(CorruptEntryError, match="buffers of this entry do not have their checksum"):
        strict.unpack(KEY, damaged, now=NOW)


def test_verify_refuses_what_was_written_without() -> None:
    with pytest.raises(CorruptEntryError, match="without the checksum"):
        Envelopes(verify=True).unpack(KEY, large(PLAIN), now=NOW)
    strict = Envelopes(verify=True, signing_key=SIGNING_KEY)  # the signature is over the buffers too
    assert strict.unpack(KEY, large(SIGNED), now=NOW) is not None


def test_what_stands_before_large_buffers_is_always_checked() -> None:
    data = large(PLAIN)
    header = PLAIN.peek(data)
    for at in range(HEADER.size + len(KEY) + 8 * len(header.buffers) + header.body_size):
        data[at] ^= 4
        with pytest.raises(CorruptEntryError):
            PLAIN.unpack(KEY, data, now=NOW)
        data[at] ^= 4


def test_a_large_pickle_is_always_checked() -> None:
    data = bytearray(b"".join(PLAIN.pack(KEY, list(range(700_000)))))
    assert len(data) > 2 << 20
    for at in (100, len(data) // 2, len(data) - 10):
        data[at] ^= 4
        with pytest.raises(CorruptEntryError, match="checksum"):
            PLAIN.unpack(KEY, data, now=NOW)
        data[at] ^= 4


# --- the safe format against bytes that somebody made up --------------------------------------------------------------


def decode(body: bytes, *buffers: bytes) -> Any:
    return decode_value(SAFE, body, [memoryview(each) for each in buffers], safe=True)


SEEDS: list[Any] = [
    {"a": [1, -(2**70), 2.5, None, True], b"b": (1, frozenset({2}), {3})},
    np.arange(10),
    np.zeros(2, [("a", "<i4"), ("b", "<M8[s]", (2,))]),
    np.float64(1.5),
    pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    pd.Timestamp("2020").to_pydatetime(),
]


@pytest.mark.parametrize("number", range(len(SEEDS)))
@pytest.mark.filterwarnings("ignore")  # NumPy and pandas warn of some of what comes out
def test_bytes_of_the_safe_format_mutated_without_a_checksum(number: int) -> None:
    """Nothing but `CorruptEntryError` or some other harmless value; no crash, no other exception."""
    body, buffers = _safe.encode(SEEDS[number])
    raw = [bytes(each) for each in buffers]
    step = max(1, len(body) // 400)
    for at in range(0, len(body), step):
        for bit in (0x01, 0x20, 0x80):
            mutated = bytearray(body)
            mutated[at] ^= bit
            for candidate in (bytes(mutated), body[:at]):
                with contextlib.suppress(CorruptEntryError):
                    decode(candidate, *raw)


@given(body=st.binary(max_size=200))
@settings(derandomize=True, max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_random_bytes_as_the_safe_format(body: bytes) -> None:
    with contextlib.suppress(CorruptEntryError):
        decode(body)


LONG = b"\xff" + struct.pack("<Q", 2**62)


@pytest.mark.parametrize(
    "body",
    {
        "nothing": b"",
        "unknown tag": b"?",
        "something behind": b"NN",
        "list as deep as bytes": b"l\x01" * 100_000 + b"N",
        "tuple in dict in set": b"t\x01d\x02l\x00" * 1000,
        "huge list": b"l" + LONG,
        "huge dict": b"d" + LONG + b"NN",
        "huge int": b"i" + LONG,
        "huge bytes": b"b\0" + LONG,
        "no buffer there": b"b\1",
        "neither in nor out": b"b\2",
        "odd dict": b"d\x03NNN",
        "key twice": b"d\x04i\x01\x01Ni\x01\x01N",
        "equal keys": b"d\x04i\x01\x01N1N",
        "item twice": b"S\x02NN",
        "unhashable key": b"d\x02l\0N",
        "unhashable item": b"S\x01l\0",
        "no UTF-8": b"s\0\x01\xff",
        "no month 13": b"D\xe4\x07\x0d\x01",
        "no zone": b"H\0\0\0\0\0\0\0\0i\x01\x01",
        "zone out of the way": b"z\x01m\x05\0\0\0\0\0\0\0\0\0\0\0",
        "path for a zone": b"Z\x0b/etc/passwd",
        "path out for a zone": b"Z\x0d../etc/passwd",
        "no such zone": b"Z\x07No/Such",
        "range step 0": b"r\x03i\x01\0i\x01\0i\x01\0",
        "no decimal": b"e\x03abc",
        "fraction over 0": b"Q\x02i\x01\x01i\x01\0",
        "fraction of lists": b"Q\x02l\0l\0",
        "short uuid": b"u\x02xx",
        "unknown library": b"x\x03foot\0B\0\0",
        "no header": b"x\x07ndarrayNB\0\0",
        "table of nothing": b"x\x06pandasNB\0\0",
    }.items(),
    ids=lambda item: item[0] if isinstance(item, tuple) else item,
)
def test_hostile_bytes_as_the_safe_format(body: tuple[str, bytes]) -> None:
    with pytest.raises(CorruptEntryError):
        decode(body[1])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"l\x01" * 100_000 + b"N", "nested too deep"),
        (b"l" + LONG, "fewer bytes than items"),
        (b"i" + LONG, "the bytes end within a value"),
        (b"b\0" + LONG, "the bytes end within a value"),
        (b"Z\x0d../etc/passwd", "is no time zone"),
    ],
)
def test_hostile_bytes_are_refused_at_once(body: bytes, reason: str) -> None:
    """Not when the stack or the bytes happen to end, or somebody else refuses the path."""
    with pytest.raises(CorruptEntryError, match=reason):
        decode(body)


def array(descr: Any, shape: Any, size: int, order: Any = "C", writeable: Any = True) -> bytes:
    header, _ = _safe.encode((descr, shape, order, writeable))
    assert size < 255
    return b"x\x07ndarray" + header + b"B\0" + bytes((size,)) + bytes(size)


def test_a_good_array_of_this_making() -> None:
    assert decode(array("<i4", (2, 3), 24)).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    "body",
    [
        *(array("|O", (1,), 8), array("O", (1,), 8), array("object", (1,), 8), array([("a", "|O")], (1,), 8)),
        *(array("<i4", (2**62,), 8), array("<i4", (-1, -2), 8), array("<i4", (1.0,), 4), array("<i4", [1], 4)),
        *(array("|S0", (2**40,), 0), array("|V0", (2**62, 4), 0), array("<U999999999", (1,), 8)),
        *(
            array("<i4,<i4", (1,), 8),
            array("(2,)<i4", (1,), 8),
            array("i4", (1,), 4),
            array("__import__('os')", (1,), 4),
        ),
        *(array([("a", "<i4", "x")], (1,), 4), array([(1, "<i4")], (1,), 4), array([["a", "<i4"]], (1,), 4)),
        *(
            array([("a", "<i4", (2**60,))], (1,), 8),
            array({"names": ["a"], "formats": ["O"]}, (1,), 8),
            array(None, (), 8),
        ),
        *(array("<i4", (1,), 4, order="K"), array("<i4", (1,), 4, writeable=None), array("<i4", (1,) * 65, 4)),
        *(array("<i4", (True,), 4), array("<i4", (2,), 4), array("<i4", (1,), 8), array([], (1,), 0)),
    ],
)
def test_hostile_arrays(body: bytes) -> None:
    with pytest.raises(CorruptEntryError):
        decode(body)


@pytest.mark.parametrize(
    "table", [pa.table({"s": ["text"]}), pl.DataFrame({"s": ["text"]}), pd.DataFrame({"s": ["text"]})]
)
def test_a_table_with_text_that_is_none(table: Any) -> None:
    body, buffers = _safe.encode(table)
    assert buffers == []
    assert decode(body) is not None
    with pytest.raises(CorruptEntryError):
        decode(body.replace(b"text\0", b"\xff\xfe\xfd\xfc\0"))


# --- frames ----------------------------------------------------------------------------------------------------------


def test_an_item_cut_short_or_lengthened() -> None:
    frame = pack_item([np.arange(600.0), 1], safe=False)
    for data in (*(frame[:length] for length in range(0, len(frame), 7)), frame + b"\0" * 8):
        with pytest.raises(CorruptEntryError):
            unpack_item(data, safe=False)


@pytest.mark.parametrize("size", [0, 1, 23, 2**63, 2**64 - 1, 10_000])
def test_a_frame_with_a_forged_size(size: int) -> None:
    frame = pack_item(1, safe=False)
    with pytest.raises(CorruptEntryError):
        list(iter_frames(memoryview(frame + frame[:16] + struct.pack("<Q", size) + frame[24:])))


def test_iterating_a_stream_is_lazy() -> None:
    frames = iter_frames(memoryview(pack_item(1, safe=False) + b"rubbish"))
    assert unpack_item(next(frames), safe=False) == 1
    with pytest.raises(CorruptEntryError, match="no item"):
        next(frames)
