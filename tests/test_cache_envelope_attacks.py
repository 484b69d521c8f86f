"""Somebody else writes into the store. Tests plant code that leaves a file behind, and show that there is none."""

from __future__ import annotations

import copy
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from eagerly.cache import _safe, _safe_array, _safe_table
from eagerly.cache._codec import CLOUDPICKLE, PICKLE, RAW, SAFE, STREAM, TEXT, iter_frames, pack_item, unpack_item
from eagerly.cache._envelope import Envelopes
from eagerly.errors import CorruptEntryError, OptionTypeError, OptionValueError, UntrustedEntryError

KEY = b"k" * 20
OTHER_KEY = b"o" * 20
NOW = 1_000.0
SIGNING_KEY, OTHER_SIGNING_KEY = b"s" * 32, b"t" * 32
HEADER = struct.Struct("<8sIBBHIIIdQQI")
CODEC_AT, FLAGS_AT, EXPIRES_AT, SIGNATURE_AT = 12, 13, 28, 56

SIGNED = Envelopes(signing_key=SIGNING_KEY, namespace="store")
SAFELY = Envelopes(safe=True)
PLAIN = Envelopes()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def mark(tmp_path: Path) -> Any:
    """The file that the bomb leaves; it must not be there at the end."""
    path = tmp_path / "exploded"
    yield path
    assert not path.exists(), "planted code has run"


def entry(envelopes: Envelopes, value: object, key: bytes = KEY, **more: Any) -> bytearray:
    return bytearray(b"".join(envelopes.pack(key, value, **more)))


def mend(data: bytearray) -> bytearray:
    """Write the checksum again, as anybody can."""
    fields = HEADER.unpack_from(data)
    flags, key, meta, count, body = fields[3], *fields[5:8], fields[9]
    split = HEADER.size + 32 * (flags & 1) + key + meta + 8 * count + body
    data[8:12] = zlib.crc32(data[12:split]).to_bytes(4, "little")
    return data


def test_the_bomb_works(tmp_path: Path) -> None:
    path = tmp_path / "exploded"
    PLAIN.unpack(KEY, entry(PLAIN, Bomb(path)), now=NOW)
    assert path.exists()


def test_a_mended_checksum_is_accepted() -> None:
    data = entry(PLAIN, 1, expires=NOW + 1)
    struct.pack_into("<d", data, EXPIRES_AT, NOW + 100)
    unpacked = PLAIN.unpack(KEY, mend(data), now=NOW + 50)  # without a signing key the store itself has to be trusted
    assert unpacked is not None
    assert unpacked.expires == NOW + 100


# --- safe=True -------------------------------------------------------------------------------------------------------


def bombs(path: Path) -> list[object]:
    return [Bomb(path), {"a": [1, Bomb(path)]}, np.array([Bomb(path)], dtype=object), (b"x" * 5000, Bomb(path))]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("codec", [PICKLE, CLOUDPICKLE])
def test_a_pickle_is_not_unpickled_with_safe(mark: Path, number: int, codec: int) -> None:
    data = entry(PLAIN, bombs(mark)[number])
    data[CODEC_AT] = codec
    with pytest.raises(UntrustedEntryError, match=r"pickle, which can run code .* not unpickled"):
        SAFELY.unpack(KEY, mend(data), now=NOW)


@pytest.mark.parametrize("codec", [RAW, TEXT, SAFE, STREAM, 0, 9, 255])
def test_a_pickle_that_is_declared_as_something_else(mark: Path, codec: int) -> None:
    data = entry(PLAIN, Bomb(mark))
    data[CODEC_AT] = codec
    for envelopes in (SAFELY, PLAIN):
        try:
            unpacked = envelopes.unpack(KEY, mend(copy.copy(data)), now=NOW)
        except CorruptEntryError:
            continue
        assert unpacked is not None
        assert isinstance(unpacked.value, bytes)  # raw bytes of a pickle are just bytes
        assert codec == RAW


def test_a_pickle_as_an_item_of_a_stream(mark: Path) -> None:
    frames = [pack_item(1, safe=True), pack_item(Bomb(mark), safe=False)]
    data = b"".join(PLAIN.pack_frames(KEY, frames))
    unpacked = SAFELY.unpack(KEY, data, now=NOW)
    assert unpacked is not None
    first, second = iter_frames(unpacked.value)
    assert unpack_item(first, safe=True) == 1
    with pytest.raises(UntrustedEntryError, match="not unpickled"):
        unpack_item(second, safe=True)


def test_a_stream_as_an_item_of_a_stream() -> None:
    frame = bytearray(pack_item(b"x", safe=True))
    frame[0] = STREAM
    with pytest.raises(CorruptEntryError, match="no codec"):
        unpack_item(frame, safe=True)


def test_an_array_of_objects_in_the_safe_format(mark: Path) -> None:
    """NumPy itself would take the bytes for pointers."""
    pickled = pickle.dumps(np.array([Bomb(mark)], dtype=object))
    for descr in ("|O", "O", [("a", "|O")], [("a", [("b", "|O")])]):
        header, _ = _safe.encode((descr, (1,), "C", True))
        body = b"x\x07ndarray" + header + b"B\0" + bytes((8,)) + bytes(8)
        data = entry(SAFELY, [1])
        with pytest.raises(CorruptEntryError):
            SAFELY.unpack(KEY, replace_body(data, body), now=NOW)
    with pytest.raises(CorruptEntryError):
        SAFELY.unpack(KEY, replace_body(entry(SAFELY, [1]), pickled), now=NOW)


def replace_body(data: bytearray, body: bytes) -> bytearray:
    """`data`, an entry without meta and buffers, with another body."""
    fields = list(HEADER.unpack_from(data))
    old = fields[9]
    fields[9], fields[10] = len(body), fields[10] - old + len(body)
    return mend(bytearray(HEADER.pack(*fields) + bytes(data[HEADER.size : len(data) - old]) + body))


class BombType(pa.ExtensionType):  # type: ignore[misc]  # untyped
    """What libraries do that are not careful: their extension type is unpickled."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "eagerly.bomb")

    def __arrow_ext_serialize__(self) -> bytes:
        return self.planted

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: Any, serialized: bytes) -> Any:
        pickle.loads(serialized)
        return cls()

    planted = b""


@pytest.fixture
def planted_table(mark: Path) -> Any:
    """An Arrow stream with a column of a registered extension type, which explodes when its schema is read."""
    BombType.planted = pickle.dumps(Bomb(mark))
    pa.register_extension_type(BombType())
    mark.unlink(missing_ok=True)
    column = pa.ExtensionArray.from_storage(BombType(), pa.array([1, 2]))
    table = pa.table({"a": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    yield table, sink.getvalue().to_pybytes()
    pa.unregister_extension_type("eagerly.bomb")


def test_an_arrow_extension_type_is_not_read(mark: Path, planted_table: Any) -> None:
    _, stream = planted_table
    header = {"arrow": True, "pandas": (True, None, {}, None, None), "polars": True}
    for kind in header:
        with pytest.raises(ValueError, match="extension type"):
            _safe_table.restore(kind, header[kind], memoryview(stream))
    assert not mark.exists()
    pa.ipc.open_stream(stream)  # what would have happened
    assert mark.exists()
    mark.unlink()


def test_an_arrow_extension_type_is_not_written(mark: Path, planted_table: Any) -> None:
    with pytest.raises(Exception, match="extension type"):
        SAFELY.pack(KEY, planted_table[0])


def test_the_safe_modules_do_not_know_pickle() -> None:
    for module in (_safe, _safe_array, _safe_table):
        source = Path(str(module.__file__)).read_text()
        assert not any(word in source for word in ("import pickle", "eval(", "exec(", "allow_pickle", "__import__"))


def test_an_unsafe_reader_reads_safe_entries() -> None:
    unpacked = PLAIN.unpack(KEY, entry(SAFELY, {"a": 1}), now=NOW)
    assert unpacked is not None
    assert (unpacked.value, unpacked.codec) == ({"a": 1}, SAFE)


# --- signatures ------------------------------------------------------------------------------------------------------


def refuses(data: bytes | bytearray, match: str, key: bytes = KEY) -> None:
    for form in (bytes(data), bytearray(data), memoryview(bytes(data))):
        with pytest.raises(UntrustedEntryError, match=match):
            SIGNED.unpack(key, form, now=NOW)


def test_an_unsigned_entry(mark: Path) -> None:
    refuses(entry(PLAIN, Bomb(mark)), "not signed")


def test_an_entry_that_only_says_that_it_is_signed(mark: Path) -> None:
    data = entry(PLAIN, Bomb(mark))
    data[FLAGS_AT] |= 1
    refuses(mend(data), "signature .* wrong")


def test_an_entry_with_a_signature_of_zeros(mark: Path) -> None:
    data = entry(SIGNED, Bomb(mark))
    data[SIGNATURE_AT : SIGNATURE_AT + 32] = bytes(32)
    refuses(mend(data), "signature .* wrong")


@pytest.mark.parametrize(
    "writer",
    [
        Envelopes(signing_key=OTHER_SIGNING_KEY, namespace="store"),
        Envelopes(signing_key=SIGNING_KEY, namespace="other"),
        Envelopes(signing_key=SIGNING_KEY),
        Envelopes(signing_key=SIGNING_KEY + b"\0", namespace="store"),
        Envelopes(signing_key=SIGNING_KEY[:-1], namespace="store"),
        Envelopes(signing_key=OTHER_SIGNING_KEY * 5, namespace="store"),
    ],
    ids=["another key", "another store", "no namespace", "key and a zero", "shorter key", "long key"],
)
def test_an_entry_signed_by_another(mark: Path, writer: Envelopes) -> None:
    refuses(entry(writer, Bomb(mark)), "signature .* wrong")


def test_a_signed_entry_moved_to_another_key(mark: Path) -> None:
    data = entry(SIGNED, Bomb(mark), key=OTHER_KEY)
    refuses(data, "moved from another key", key=KEY)


def test_a_signed_entry_with_its_key_overwritten(mark: Path) -> None:
    data = entry(SIGNED, Bomb(mark), key=OTHER_KEY)
    at = SIGNATURE_AT + 32
    assert data[at : at + 20] == OTHER_KEY
    data[at : at + 20] = KEY
    refuses(mend(data), "signature .* wrong")


def test_namespace_and_key_cannot_be_moved_into_each_other() -> None:
    data = entry(Envelopes(signing_key=SIGNING_KEY, namespace="a"), 1, key=b"bc")
    with pytest.raises(UntrustedEntryError):
        Envelopes(signing_key=SIGNING_KEY, namespace="ab").unpack(b"c", data, now=NOW)


def extend_expiry(data: bytearray) -> None:
    struct.pack_into("<d", data, EXPIRES_AT, NOW + 1_000_000)


def exchange_meta(data: bytearray) -> None:
    data[data.index(b"meta")] ^= 1


def exchange_codec(data: bytearray) -> None:
    data[CODEC_AT] = CLOUDPICKLE


def drop_bulk_checksum(data: bytearray) -> None:
    data[FLAGS_AT] &= ~2


def exchange_body(data: bytearray) -> None:
    data[data.index(b"touch")] ^= 1


def exchange_buffer(data: bytearray) -> None:
    data[-1] ^= 1


CHANGES = [extend_expiry, exchange_meta, exchange_codec, drop_bulk_checksum, exchange_body, exchange_buffer]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_altered_signed_entry(mark: Path, change: Callable[[bytearray], None]) -> None:
    data = entry(SIGNED, [Bomb(mark), np.zeros(1000)], expires=NOW - 1, meta=b"meta")
    before = bytes(data)
    change(data)
    assert data != before
    refuses(mend(data), "signature .* wrong")


def test_dropping_the_signature_is_no_way_around_it(mark: Path) -> None:
    """The downgrade: an unsigned entry is what a reader without a key would accept."""
    data = entry(SIGNED, Bomb(mark))
    data[FLAGS_AT] &= ~1
    refuses(mend(data), "not signed")
    del data[SIGNATURE_AT : SIGNATURE_AT + 32]
    size = struct.unpack_from("<Q", data, 44)[0]
    struct.pack_into("<Q", data, 44, size - 32)
    refuses(mend(data), "not signed")


def test_every_byte_of_a_large_signed_entry_is_signed() -> None:
    data = entry(SIGNED, np.arange(300_000.0))
    unpacked = SIGNED.unpack(KEY, data, now=NOW)
    assert unpacked is not None
    for at in (500, len(data) // 2, len(data) - 1):
        data[at] ^= 1
        refuses(data, "signature .* wrong")
        data[at] ^= 1


def test_a_signed_stream() -> None:
    data = bytearray(
        b"".join(SIGNED.pack_frames(KEY, [pack_item(1, safe=False), pack_item(np.zeros(1000), safe=False)]))
    )
    unpacked = SIGNED.unpack(KEY, data, now=NOW)
    assert unpacked is not None
    assert unpack_item(next(iter_frames(unpacked.value)), safe=False) == 1
    data[-1] ^= 1
    refuses(data, "signature .* wrong")


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))], ids=["bytearray", "view"])
def test_what_was_verified_cannot_be_changed_afterwards(kind: Callable[[bytes], Any]) -> None:
    """A mapped file may be written to between verifying and reading, so a signed entry is copied first."""
    shared = kind(bytes(entry(SIGNED, np.zeros(100_000))))
    unpacked = SIGNED.unpack(KEY, shared, now=NOW)
    assert unpacked is not None
    shared[-8:] = b"\xff" * 8
    assert unpacked.value[-1] == 0.0
    unpacked.value[0] = 1.0


def test_a_value_of_a_signed_entry_is_writable_and_its_own() -> None:
    data = bytes(entry(SIGNED, np.zeros(100_000)))
    first, second = (SIGNED.unpack(KEY, data, now=NOW) for _ in range(2))
    assert first is not None
    assert second is not None
    first.value[0] = 1.0
    assert second.value[0] == 0.0


def test_a_reader_without_a_key_reads_signed_entries_like_others() -> None:
    unpacked = PLAIN.unpack(KEY, entry(SIGNED, {"a": 1}, meta=b"m"), now=NOW)
    assert unpacked is not None
    assert (unpacked.value, unpacked.meta) == ({"a": 1}, b"m")


def test_signed_and_safe_at_once(mark: Path) -> None:
    both = Envelopes(signing_key=SIGNING_KEY, safe=True, namespace="store")
    assert both.unpack(KEY, entry(both, {"a": 1}), now=NOW) is not None
    with pytest.raises(UntrustedEntryError, match="not unpickled"):
        both.unpack(KEY, entry(SIGNED, Bomb(mark)), now=NOW)
    with pytest.raises(UntrustedEntryError, match="not signed"):
        both.unpack(KEY, entry(SAFELY, {"a": 1}), now=NOW)


# --- signing keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 15])
def test_a_short_signing_key(key: bytes) -> None:
    with pytest.raises(OptionValueError, match=rf"signing_key has {len(key)} bytes.* it takes 16 or more"):
        Envelopes(signing_key=key)


@pytest.mark.parametrize("key", ["x" * 32, bytearray(32), 7])
def test_a_signing_key_that_is_not_bytes(key: Any) -> None:
    with pytest.raises(OptionTypeError, match=f"takes bytes, not {type(key).__name__}"):
        Envelopes(signing_key=key)


def test_a_signing_key_is_told_to_nobody() -> None:
    secret = b"a secret of 20 bytes"
    envelopes = Envelopes(signing_key=secret)
    assert secret not in repr(envelopes).encode()
    assert secret not in b"".join(envelopes.pack(KEY, 1))
    with pytest.raises(OptionValueError) as caught:
        Envelopes(signing_key=b"hush")
    assert "hush" not in str(caught.value)
