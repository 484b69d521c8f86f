"""Encodings of containers: sequences, mappings, sets. Long runs of equal scalars are packed by the interpreter's own C.

Packing is part of the encoding: whether it happens depends on the value alone.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import contextlib
import marshal
import math
import struct
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from eagerly.cache._encode_buffers import bounded
from eagerly.cache._encode_scalars import NAN, encode_text
from eagerly.cache._encode_walk import HANDLERS, Refused, Walk, guarded, record

__all__ = ["encode_items", "encode_mapping", "encode_pairs", "encode_sorted", "key_step"]

PACK_FROM: Final = 16
"""From how many items on packing is tried."""

NUMBERS: Final = {int: (b"i", 5), float: (b"g", 9)}
"""What `marshal` writes for one number: the type byte, and the length with it."""

MAX_SHORT: Final = 1 << 31

SHOWN_KEY: Final = 40
"""How many characters of a dict's key a path shows."""

_pack_count = struct.Struct("<cQ").pack


def key_step(key: Any) -> str:
    """How a path shows what lies under `key`. Only plain keys are shown: the repr of others may do anything."""
    if type(key) in (str, int, bool, float, bytes, type(None)):
        shown = repr(key)
        return f"[{shown if len(shown) <= SHOWN_KEY else shown[: SHOWN_KEY - 3] + '...'}]"
    return f"[key of type {type(key).__qualname__}]"


def encode_items(values: Sequence[Any], walk: Walk, keys: Sequence[Any] | None = None) -> bytes:
    """The items of a list or tuple in their order, without its type; `keys` are for the paths of refusals."""
    if len(values) >= PACK_FROM and (pack := PACKERS.get(type(values[0]))) and (packed := pack(values)) is not None:
        return packed
    parts: list[bytes] = []
    try:
        for item in values:
            parts.append(HANDLERS[type(item)](item, walk))  # noqa: PERF401 - how many there are tells the step
    except Refused as refused:
        refused.steps.append(f"[{len(parts)}]" if keys is None else key_step(keys[len(parts)]))
        raise
    return _pack_count(b"*", len(parts)) + b"".join(parts)


def encode_sorted(values: Collection[Any], walk: Walk) -> bytes:
    """The items of a set, without its type."""
    if len(values) >= PACK_FROM and (ordered := _sorted_keys(values)) is not None:
        return encode_items(ordered, walk)
    parts = [HANDLERS[type(item)](item, walk) for item in values]
    parts.sort()
    return _pack_count(b"*", len(parts)) + b"".join(parts)


def encode_mapping(mapping: Mapping[Any, Any], walk: Walk) -> bytes:
    """The keys and values of a dict whose order does not count, without its type."""
    if len(mapping) >= PACK_FROM and (keys := _sorted_keys(mapping)) is not None:
        values = [mapping[key] for key in keys]
        return b"k" + encode_items(keys, walk) + encode_items(values, walk, keys)
    return encode_pairs(mapping.items(), walk)


def _sorted_keys(values: Collection[Any]) -> list[Any] | None:
    """All strings or all ints in their own order, which is cheaper than that of their encodings; else None."""
    found: list[Any] = list(values)
    kind: type = type(found[0])
    if kind not in (str, int) or list(map(type, found)).count(kind) != len(found):
        return None
    found.sort()
    return found


def encode_pairs(
    pairs: Iterable[tuple[Any, Any]],
    walk: Walk,
    *,
    ordered: bool = False,
    step: Callable[[Any], str] = key_step,
) -> bytes:
    """The keys and values of a mapping, without its type; `step` is for the paths of refusals."""
    parts: list[tuple[bytes, bytes]] = []
    key: Any = None
    try:
        for key, item in pairs:
            parts.append((HANDLERS[type(key)](key, walk), HANDLERS[type(item)](item, walk)))
    except Refused as refused:
        refused.steps.append(step(key))
        raise
    if not ordered:
        parts.sort()
    return _pack_count(b":", len(parts)) + b"".join([raw for part in parts for raw in part])


def _pack_numbers(values: Sequence[Any]) -> bytes | None:
    """All ints of 32 bits, or all floats, as `marshal` writes them; all ints of 64 bits; or None.

    `marshal` looks at the exact type of each item, in C, while it writes. A byte that says "int" at every place where
    one must stand, and nothing beyond, means that all are: the first item is one, so the second begins where it must,
    and so on.
    """
    kind = type(values[0])
    count = len(values)
    samples = (values[0], values[count >> 1], values[-1])
    if any(type(sample) is not kind for sample in samples):
        return None
    if kind is float or all(-MAX_SHORT <= sample < MAX_SHORT for sample in samples):
        tag, width = NUMBERS[kind]
        raw = _dump(values)
        if len(raw) == 5 + width * count and raw[5::width].count(tag) == count:
            if kind is float and math.isnan(sum(values)):  # NaN, of which there are many; or two infinities
                raw = _dump([NAN if item != item else item for item in values])
            return bounded(tag, memoryview(raw)[5:])
    if kind is int and list(map(type, values)).count(int) == count:
        with contextlib.suppress(struct.error):
            return bounded(b"q", struct.pack(f"<{count}q", *values))
    return None


def _dump(values: Any) -> bytes:
    try:
        return marshal.dumps(values, 2)  # the last version without back references, which depend on identity
    except ValueError:  # there is something else among them
        return b""


def _pack_strings(values: Sequence[Any]) -> bytes | None:
    """All strings: their lengths in characters, and their characters; or None."""
    count = len(values)
    if list(map(type, values)).count(str) != count:
        return None
    lengths = struct.pack(f"<{count}Q", *map(len, values))
    return _pack_count(b"$", count) + bounded(b"q", lengths) + bounded(b"s", encode_text("".join(values)))


PACKERS: Final[dict[type, Callable[[Sequence[Any]], bytes | None]]] = {
    int: _pack_numbers,
    float: _pack_numbers,
    str: _pack_strings,
}


def _list(value: list[Any], walk: Walk) -> bytes:
    return b"l" + encode_items(value, walk)


def _tuple(value: tuple[Any, ...], walk: Walk) -> bytes:
    return b"T" + encode_items(value, walk)


def _set(value: set[Any], walk: Walk) -> bytes:
    return b"S" + encode_sorted(value, walk)


def _frozenset(value: frozenset[Any], walk: Walk) -> bytes:
    return b"z" + encode_sorted(value, walk)


def _dict(value: dict[Any, Any], walk: Walk) -> bytes:
    return b"d" + encode_mapping(value, walk)


def _ordered_dict(value: OrderedDict[Any, Any], walk: Walk) -> bytes:
    return b"o" + encode_pairs(value.items(), walk, ordered=True)


def _deque(value: deque[Any], walk: Walk) -> bytes:
    return record("deque", walk(value.maxlen), encode_items(list(value), walk))


def _mapping_proxy(value: types.MappingProxyType[Any, Any], walk: Walk) -> bytes:
    return record("mappingproxy", walk(value.copy()))


for _cls, _handler in (
    (list, _list),
    (tuple, _tuple),
    (set, _set),
    (frozenset, _frozenset),
    (dict, _dict),
    (OrderedDict, _ordered_dict),
    (deque, _deque),
    (types.MappingProxyType, _mapping_proxy),
):
    HANDLERS[_cls] = guarded(_handler)
