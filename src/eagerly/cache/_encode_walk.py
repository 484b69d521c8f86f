"""The walk over a value that becomes bytes: who encodes which type, how parts are framed, how a refusal finds its path.

A **handler** turns one value into bytes: ``handler(value, walk) -> bytes``.

* It returns what `record`, `sized` or another framing function of this module made: self-delimiting and tagged, so that
  no two different values can give the same bytes. ``record("function", digest, walk(defaults, ".__defaults__"))`` is
  the usual form; the parts of a record may be any bytes.
* It encodes parts of the value with ``walk(part, step)``. The step is what error paths show: ``.name``, ``[3]``,
  ``['key']``. It never calls `Walk` for the value itself, nor for anything that it does not keep a reference to.
* If the value cannot be keyed it raises `Refused` with a reason. Any other exception is taken for a refusal too.
* It may be called for one type very often (the handler of `type` is: once for each instance), so what is expensive
  and depends on the class alone is kept.

Handlers see no identity: what is equal but built differently has to give the same bytes. There is no memo. Cycles are
refused here, for all handlers at once.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

__all__ = [
    "HANDLERS",
    "Handler",
    "Refused",
    "Resolver",
    "Walk",
    "failure",
    "guarded",
    "record",
    "set_resolver",
    "sized",
]

Handler: TypeAlias = "Callable[[Any, Walk], bytes]"
Resolver: TypeAlias = Callable[[type], Handler]

SHOWN_TEXT: Final = 200
"""How many characters of the text of an error are shown."""

_pack_size = struct.Struct("<cQ").pack
_pack_count = struct.Struct("<Q").pack


class Refused(Exception):  # noqa: N818 - not an error until the walk is over
    """A value cannot be part of a key. `encode` makes an `UnkeyableArgument` of it.

    Attributes:
        reason: A clause without a full stop, such as "a generator can be read only once".
        steps: The way from the argument to the value, innermost first; filled in as the walk ends.
        holders: The classes of the compound values on that way, innermost first; filled in likewise.
    """

    def __init__(self, reason: str, value: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cls: type = type(value)
        self.steps: list[str] = []
        self.holders: list[type] = []


class Walk(set[int]):
    """One walk: the identities of the compound values that it is inside of, at this moment."""

    __slots__ = ()

    def __call__(self, part: Any, step: str = "") -> bytes:
        """Encode a part of the value at hand.

        Args:
            part: What to encode.
            step: How it is reached from there, for the path of a refusal; "" if it stands for the value itself.
        """
        try:
            return HANDLERS[type(part)](part, self)
        except Refused as refused:
            if step:
                refused.steps.append(step)
            raise


class Handlers(dict[type, Handler]):
    """Handlers by exact type. Those of other types are asked of the resolver each time; it does the remembering."""

    def __missing__(self, cls: type) -> Handler:
        return _resolve[0](cls)


HANDLERS: Final = Handlers()


def _unresolved(cls: type) -> Handler:
    raise Refused(f"{cls.__qualname__} has no encoding")


_resolve: list[Resolver] = [_unresolved]


def set_resolver(resolver: Resolver) -> None:
    """Say who finds the handler of a type that is not in `HANDLERS`."""
    _resolve[0] = resolver


def guarded(handler: Handler) -> Handler:
    """`handler`, refusing values that contain themselves, and with every exception turned into a refusal."""

    def encode_compound(value: Any, walk: Walk) -> bytes:
        here = id(value)
        if here in walk:
            raise Refused("it contains itself", value)
        walk.add(here)
        try:
            return handler(value, walk)
        except Refused as refused:
            refused.holders.append(type(value))  # pyright: ignore[reportUnknownArgumentType]  # of Any
            raise
        except RecursionError:
            raise
        except Exception as error:
            raise Refused(f"reading it {failure(error)}", value) from error
        finally:
            walk.discard(here)

    return encode_compound


def failure(error: Exception) -> str:
    """A clause that says what has failed, with its text: whoever logs one line does not see the cause."""
    try:
        text = " ".join(str(error).split()).rstrip(".")
    except Exception:
        text = ""
    text = text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 3] + "..."
    return f"failed with {type(error).__name__}" + (f": {text}" if text else "")


def sized(tag: bytes, data: bytes) -> bytes:
    """A one-byte tag, the length, and `data`."""
    return _pack_size(tag, len(data)) + data


def record(name: str, *parts: bytes) -> bytes:
    """A named thing with parts, each of which may be any bytes.

    Raises:
        OverflowError: The name is longer than 255 bytes.
    """
    framed = [_head(name), _pack_count(len(parts))]
    for part in parts:
        framed.append(_pack_count(len(part)))
        framed.append(part)
    return b"".join(framed)


@functools.lru_cache
def _head(name: str) -> bytes:
    raw = name.encode()
    return b"R" + len(raw).to_bytes(1, "little") + raw
