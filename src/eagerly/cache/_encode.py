"""Canonical bytes of values, for the keys of cached calls: equal values give one encoding, different ones never do.

Internal interface for the encoding of functions and classes: ``register_encoder(exact_type, handler)`` with
``handler(value, walk) -> bytes`` as described in `_encode_walk`, which has `Walk`, `Refused` and `record`. The handler
of `type` is also asked for the class of every instance that is encoded, and for classes with a metaclass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from eagerly.cache._encode_walk import HANDLERS, Handler, Refused, Walk, guarded
from eagerly.errors import UnkeyableArgument

__all__ = ["encode", "encode_arguments", "register_encoder"]


def encode(value: Any, path: str) -> bytes:
    """The canonical bytes of `value`.

    Args:
        value: Anything.
        path: What it is called in errors, such as ``argument 'conn'``.

    Raises:
        UnkeyableArgument: Something in it cannot be part of a key.
    """
    try:
        return HANDLERS[type(value)](value, Walk())
    except Refused as refused:
        raise UnkeyableArgument(f"{path}: {refused.reason}", path=path) from refused.__cause__


def encode_arguments(inputs: Mapping[str, Any], ignore: Collection[str] = ()) -> list[tuple[str, bytes]]:
    """The canonical bytes of each argument that is not in `ignore`, in the order of `inputs`."""
    return [(name, encode(value, f"argument {name!r}")) for name, value in inputs.items() if name not in ignore]


def register_encoder(exact_type: type, handler: Handler) -> None:
    """Let `handler` encode the values whose type is `exact_type`."""
    HANDLERS[exact_type] = guarded(handler)
