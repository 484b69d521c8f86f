"""Encodings of bare objects: what `object()` made to be told from everything else, by the name its module has for it.

Such a sentinel says nothing of itself, so it is looked for among the globals of all modules. Only UPPER_CASE names are
taken for names that stay; under others there may be a token that is made anew to say that something has changed.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

from eagerly.cache._encode_scalars import encode_text
from eagerly.cache._encode_walk import HANDLERS, Refused, Walk, record

__all__ = ["DefaultOf"]

MAX_KNOWN: Final = 1024

_known: dict[int, tuple[object, tuple[str, str] | None]] = {}
"""By identity: the object itself, so that no other gets its identity, and its module and name, or None if it has none.

A search takes some milliseconds."""


class DefaultOf:
    """Stands for the default of a parameter, where that is a bare object. It is part of the function.

    Args:
        parameter: Its name.
    """

    __slots__ = ("parameter",)

    def __init__(self, parameter: str) -> None:
        self.parameter = parameter


def _namespace(module: Any) -> dict[str, Any]:
    # Not asked of the module itself: a lazy one would be loaded for it.
    return object.__getattribute__(module, "__dict__") if isinstance(module, ModuleType) else {}


def _global_name(value: object) -> tuple[str, str] | None:
    known = _known.get(id(value))
    if known is not None and (known[1] is None or _namespace(sys.modules.get(known[1][0])).get(known[1][1]) is value):
        return known[1]
    found = [
        (module_name, name)
        for module_name, module in list(sys.modules.items())
        for name, each in list(_namespace(module).items())
        if each is value and name.isupper()
    ]
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    # The first in the alphabet: the order of imports may be another tomorrow.
    _known[id(value)] = value, min(found, default=None)
    return _known[id(value)][1]


def _object(value: object, _walk: Walk) -> bytes:
    name = _global_name(value)
    if name is None:
        raise Refused("it has no content but its identity", value)
    return record("sentinel", encode_text(name[0]), encode_text(name[1]))


def _default(value: DefaultOf, _walk: Walk) -> bytes:
    return record("default", encode_text(value.parameter))


HANDLERS[object] = _object
HANDLERS[DefaultOf] = _default
