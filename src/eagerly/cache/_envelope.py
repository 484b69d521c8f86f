"""What stands around an encoded value in a store: for which key, until when, undamaged, and by whom it was written.

An entry is, little-endian:

======  ========  ==========================================================================================
offset  bytes
======  ========  ==========================================================================================
0       7, 1      ``b"\\x93EAGER\\n"``, format version
8       4         CRC-32 of all that follows, up to the end of the body
12      1, 1      codec, flags (1: signed; 2: has a checksum of the buffers)
14      2, 4      reserved (0), length of the key
20      4, 4      length of the meta block, number of buffers
28      8         expiry in Unix seconds, infinite for never
36      8, 8      length of the body, length of the entry
52      4         CRC-32 of all that follows the body, if flag 2 is set
56      32        signature, if signed
..      ..        key, meta block, lengths of the buffers (8 bytes each), body
..      ..        buffers, each at a multiple of 64
======  ========  ==========================================================================================

The key is part of the entry, so a valid entry that is moved to another key is refused. The signature is a keyed
BLAKE2b over the store's namespace, the key that was asked for, and everything from offset 12 but itself. With a signing
key, an entry is copied into memory of our own and verified before anything but the table above is looked at.

Nothing here opens a file. Whether a store without signatures can be trusted is decided where its files are opened.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from eagerly.cache._codec import IN_BAND, STREAM, codec_name, decode_value, encode_value
from eagerly.cache._payload import checksum, find_payload, make_table, pad, place_buffers, size_of
from eagerly.cache._protocol import Buffer
from eagerly.errors import CorruptEntryError, OptionTypeError, OptionValueError, UntrustedEntryError

__all__ = ["Envelopes", "Header", "Unpacked", "check_signing_key"]

VERSION: Final = 1
MAX_CHECKED: Final = 1 << 20
"""Buffers of more bytes than this have a checksum only if `verify` asks for it."""

MIN_SIGNING_KEY: Final = 16
SIGNED: Final = 1
CHECKED: Final = 2

_MAGIC: Final = b"\x93EAGER\n"
_START: Final = _MAGIC + bytes((VERSION,))
_HEADER: Final = struct.Struct("<8sIBBHIIIdQQI")
_FIELDS: Final = struct.Struct("<BBHIIIdQQI")  # the same from offset 12
_FIELDS_AT: Final = 12
_SIGNATURE: Final = 32
_PLAIN_SIZE: Final = _HEADER.size
_SIGNED_SIZE: Final = _HEADER.size + _SIGNATURE
_new: Callable[..., Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_IN_PLACE: Final = 1 << 16  # bytes objects up to this size are sliced by copying, which is faster than viewing them


class Unpacked(NamedTuple):
    """What was in an entry.

    Attributes:
        value: The value; of a recorded stream the memory of its frames, see `eagerly.cache._codec.iter_frames`.
        expires: When it ends, in Unix seconds, or None.
        meta: As given to `pack`.
        codec: How the value was encoded.
    """

    value: Any
    expires: float | None
    meta: bytes
    codec: int


class Header(NamedTuple):
    """What an entry says of itself. Nothing of it is verified by a signature.

    Attributes:
        key: What it was stored under.
        codec: How the value is encoded.
        codec_name: The same in words.
        signed: Whether it has a signature; not whether that is right.
        expires: When it ends, in Unix seconds, or None.
        meta: As given to `pack`.
        body_size: Bytes of the encoded value without its buffers.
        buffers: Bytes of each buffer.
        size: Bytes of the whole entry.
    """

    key: bytes
    codec: int
    codec_name: str
    signed: bool
    expires: float | None
    meta: bytes
    body_size: int
    buffers: tuple[int, ...]
    size: int


class Envelopes:
    """Puts values into entries, and takes them out.

    Args:
        signing_key: At least 16 random bytes, known to all who write and read the store. Entries are signed, and only
            signed ones are read. Without it, signed entries are read like others: the store is trusted then.
        safe: Write and read only formats that cannot run code.
        verify: Write and verify checksums of large buffers too, and refuse entries that lack them.
        namespace: Names the store in signatures, so that an entry of another store with the same key is refused.

    Raises:
        OptionTypeError: `signing_key` is neither bytes nor None.
        OptionValueError: `signing_key` is too short.
    """

    __slots__ = ("_mac", "_safe", "_verify")

    def __init__(
        self, *, signing_key: bytes | None = None, safe: bool = False, verify: bool = False, namespace: str = ""
    ) -> None:
        self._safe = safe
        self._verify = verify
        check_signing_key("signing_key", signing_key)
        self._mac = None if signing_key is None else _start_signature(signing_key, namespace)

    def pack(self, key: bytes, value: Any, *, expires: float | None = None, meta: bytes = b"") -> list[Buffer]:
        """The parts of an entry. Large buffers are not copied: until the parts are written, nobody may change `value`.

        Args:
            key: What it will be stored under.
            value: What to store.
            expires: When it ends, in Unix seconds, or None.
            meta: Anything else that should be found without unpickling.

        Raises:
            CacheError: `value` cannot be encoded; the message says why.
            MissingExtraError: A table with ``safe=True``, and the library that writes Arrow is not installed.
        """
        codec, body, buffers = encode_value(value, safe=self._safe)
        return self._seal(key, codec, body, [size_of((each,)) for each in buffers], buffers, expires, meta)

    def pack_frames(
        self, key: bytes, frames: Sequence[Buffer], *, expires: float | None = None, meta: bytes = b""
    ) -> list[Buffer]:
        """The parts of an entry for a recorded stream, whose `frames` were made by `pack_item`."""
        parts: list[Buffer] = []
        small: list[Buffer] = []
        for frame in frames:
            if size_of((frame,)) < IN_BAND:
                small.append(frame)
                continue
            if small:
                parts.append(b"".join(small))
                small.clear()
            parts.append(frame)
        parts.append(b"".join(small))
        return self._seal(key, STREAM, b"", [size_of(parts)], parts, expires, meta)

    def unpack(self, key: bytes, data: Buffer, *, now: float) -> Unpacked | None:
        """What `data` holds; None if it has expired.

        Args:
            key: What it was found under.
            data: The whole entry. If it is writable, it is handed over: large arrays of the value are slices of it and
                keep it alive. If it is not, they are copied, so that they can be written to.
            now: Unix seconds.

        Raises:
            CorruptEntryError: It is not an entry of this format version for `key`, is damaged, or holds a value that
                cannot be made here (its class is gone, a library is not installed); the cause is chained.
            UntrustedEntryError: It lacks the signature, or is to be unpickled with ``safe=True``.
        """
        if self._mac is not None:
            data = self._authenticate(self._mac, key, data)
        view = data if type(data) is bytes and len(data) <= _IN_PLACE else _view(data)
        codec, flags, key_at, meta_at, table, expires, body, split, places, bulk_sum = _open(view)
        if view[key_at:meta_at] != key:
            raise CorruptEntryError("this entry was stored under another key, and has been moved here")
        if not expires > now:
            return None
        buffers: Sequence[memoryview] = ()
        if places:
            whole = _view(data)
            self._check_bulk(whole[split:], codec, flags, bulk_sum)
            buffers = [whole[place] for place in places]
        if codec == STREAM:
            if len(buffers) != 1 or body != split:
                raise CorruptEntryError("this entry should hold a recorded stream, but is built otherwise")
            value: Any = buffers[0]
        else:
            value = decode_value(codec, view[body:split], buffers, safe=self._safe)
        ends = None if expires == math.inf else expires
        # A quarter of a microsecond faster than to call the named tuple.
        return cast("Unpacked", _new(Unpacked, (value, ends, bytes(view[meta_at:table]), codec)))

    def peek(self, data: Buffer) -> Header:
        """What `data` says of itself, without unpickling and without asking for a signature.

        Raises:
            CorruptEntryError: It is not an entry of this format version, or what stands before its buffers is damaged.
        """
        view = _view(data)
        codec, flags, key_at, meta_at, table, expires, body, split, places, _ = _open(view)
        return Header(
            key=bytes(view[key_at:meta_at]),
            codec=codec,
            codec_name=codec_name(codec),
            signed=bool(flags & SIGNED),
            expires=None if expires == math.inf else expires,
            meta=bytes(view[meta_at:table]),
            body_size=split - body,
            buffers=tuple(place.stop - place.start for place in places),
            size=view.nbytes,
        )

    def _seal(
        self,
        key: bytes,
        codec: int,
        body: Buffer,
        lengths: list[int],
        bulk: list[Buffer],
        expires: float | None,
        meta: bytes,
    ) -> list[Buffer]:
        """The parts of an entry. `bulk` is what lies behind the body: a buffer each of `lengths`, or pieces of one."""
        end = math.inf if expires is None else expires
        mac, flags, table, bulk_sum = self._mac, 0, b"", 0
        split = size = _PLAIN_SIZE + len(key) + len(meta) + len(body)
        if mac is not None:
            flags = SIGNED
            split = size = size + _SIGNATURE
        if lengths:
            table = make_table(lengths)
            split += len(table)
            bulk = [pad(split), *bulk] if codec == STREAM else place_buffers(split, bulk)
            size = split + size_of(bulk)
            if self._verify or codec == STREAM or size - split <= MAX_CHECKED:
                flags |= CHECKED
                bulk_sum = checksum(bulk)
        fields = _FIELDS.pack(codec, flags, 0, len(key), len(meta), len(lengths), end, len(body), size, bulk_sum)
        rest = b"".join((key, meta, table))
        if mac is not None:
            rest = _sign(mac, key, (fields, rest, body, *bulk)) + rest
        if len(body) > _IN_PLACE:
            return [_START + checksum((fields, rest, body)).to_bytes(4, "little") + fields + rest, body, *bulk]
        rest = b"".join((fields, rest, body))
        return [_START + zlib.crc32(rest).to_bytes(4, "little") + rest, *bulk]

    def _check_bulk(self, bulk: memoryview, codec: int, flags: int, expected: int) -> None:
        required = self._verify or codec == STREAM
        if flags & CHECKED:
            if (required or bulk.nbytes <= MAX_CHECKED) and zlib.crc32(bulk) != expected:
                raise CorruptEntryError("the buffers of this entry do not have their checksum: they have been altered")
        elif required and self._mac is None:
            raise CorruptEntryError(
                "this entry was written without the checksum of its buffers that verify=True asks for"
            )

    def _authenticate(self, mac: hashlib.blake2b, key: bytes, data: Buffer) -> bytes | bytearray:
        """`data` in memory that nobody else can write to, if it has the right signature."""
        own = data if type(data) is bytes else bytearray(data)
        if len(own) < _PLAIN_SIZE:
            raise _no_entry(own)
        start, _, _, flags, _, _, _, _, _, _, size, _ = _HEADER.unpack_from(own)
        if start != _START or size != len(own):
            raise _no_entry(own)
        if not flags & SIGNED:
            raise UntrustedEntryError(
                "this entry is not signed, and this store reads signed ones only (signing_key=...)"
            )
        view = memoryview(own)
        signature = _sign(mac, key, (view[_FIELDS_AT:_PLAIN_SIZE], view[_SIGNED_SIZE:]))
        if not hmac.compare_digest(signature, view[_PLAIN_SIZE:_SIGNED_SIZE]):
            raise UntrustedEntryError(
                "the signature of this entry is wrong: it was altered, moved from another key or store, "
                "or signed with another signing_key"
            )
        return own


def _open(view: Buffer) -> tuple[int, int, int, int, int, float, int, int, Sequence[slice], int]:
    """Codec, flags, where the key, the meta block and the lengths begin, expiry, where the body begins and ends, where
    the buffers are, and their checksum. All of it is undamaged then, but the buffers have not been looked at.
    """
    if len(view) < _PLAIN_SIZE:
        raise _no_entry(view)
    (start, total, codec, flags, reserved, key_size, meta_size, count, expires, body_size, size, bulk_sum) = (
        _HEADER.unpack_from(view)
    )
    if start != _START or size != len(view):
        raise _no_entry(view)
    key_at = _SIGNED_SIZE if flags & SIGNED else _PLAIN_SIZE
    meta_at = key_at + key_size
    table = meta_at + meta_size
    split = table + body_size
    places: Sequence[slice] = ()
    if count or split != size:
        split, places = find_payload(view, table, count, body_size, size)
    if zlib.crc32(view[_FIELDS_AT:split]) != total:
        raise CorruptEntryError("this entry does not have its checksum: it has been altered")
    if flags > SIGNED | CHECKED or reserved:
        raise CorruptEntryError("this entry has flags that this version of eagerly does not know")
    return codec, flags, key_at, meta_at, table, expires, split - body_size, split, places, bulk_sum


def _no_entry(view: Buffer) -> CorruptEntryError:
    """Why the header is not that of an entry of this length."""
    if len(view) < _PLAIN_SIZE:
        return CorruptEntryError(f"this entry has {len(view)} bytes, which is too short for any")
    start, size = bytes(view[: len(_START)]), _HEADER.unpack_from(view)[10]
    if start == _START:
        return CorruptEntryError(f"this entry should have {size} bytes, but has {len(view)}")
    if start.startswith(_MAGIC):
        return CorruptEntryError(f"this entry has format version {start[-1]}; this version of eagerly reads {VERSION}")
    return CorruptEntryError(f"this is no entry of eagerly: it begins with {start!r}")


def _view(data: Buffer) -> memoryview:
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def check_signing_key(option: str, key: object) -> None:
    """Refuse what can be no signing key, or can be guessed.

    Args:
        option: Names the argument in the message, e.g. ``RedisStore(signing_key=...)``.
        key: What the caller gave; None is no key, and all right.

    Raises:
        OptionTypeError, OptionValueError: It is neither None nor bytes, or is too short.
    """
    if key is None:
        return
    if not isinstance(key, bytes):
        raise OptionTypeError(
            f"{option} takes bytes, not {type(key).__name__}; "
            "for example bytes.fromhex(os.environ['CACHE_SIGNING_KEY'])"
        )
    if len(key) < MIN_SIGNING_KEY:
        raise OptionValueError(
            f"{option} has {len(key)} bytes, which can be guessed; it takes {MIN_SIGNING_KEY} or more: make one with "
            "secrets.token_bytes(32), and keep it secret"
        )


def _start_signature(signing_key: bytes, namespace: str) -> hashlib.blake2b:
    secret = hashlib.blake2b(signing_key, digest_size=64, person=b"eagerly signing").digest()
    name = namespace.encode("utf-8", "surrogatepass")
    mac = hashlib.blake2b(key=secret, digest_size=_SIGNATURE, person=b"eagerly entry 1")
    mac.update(len(name).to_bytes(8, "little") + name)
    return mac


def _sign(start: hashlib.blake2b, key: bytes, parts: Sequence[Buffer]) -> bytes:
    mac = start.copy()
    mac.update(len(key).to_bytes(8, "little") + key)
    for part in parts:
        mac.update(part)
    return mac.digest()
