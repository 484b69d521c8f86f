"""Functions, methods and classes as arguments: how they become part of a key.

A function is its name, its code with all that reaches, its defaults and its closure. Unlike in the version of a task's
own code, nothing is skipped in defaults and closure: what cannot be keyed there is refused, as in any argument.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from eagerly.cache._code_owner import class_is_own, module_name, namespace_is_own
from eagerly.cache._code_reach import Reach, cells_of, defaults_of, implementations_of
from eagerly.cache._code_value import framed
from eagerly.cache._encode import register_encoder
from eagerly.cache._encode_walk import HANDLERS, Walk, record

__all__ = ["register"]

_digests: dict[int, tuple[weakref.ref[Any], int, bytes]] = {}
"""By the identity of a code object or class: itself, the identity of the globals it was seen with, and its digest."""


class _Busy(threading.local):
    """What this thread takes a digest of: a class may have an instance of itself, a function a table that it is in."""

    def __init__(self) -> None:
        self.identities: set[int] = set()


_busy = _Busy()


def register() -> None:
    """Teach the canonical encoding about functions, methods, modules and classes."""
    HANDLERS[FunctionType] = _function  # unguarded, as functions may refer to themselves
    HANDLERS[type] = _class
    register_encoder(MethodType, _method)
    register_encoder(ModuleType, _module)


def _class(cls: type, _walk: Walk) -> bytes:
    name = record("class", cls.__module__.encode(), cls.__qualname__.encode())
    if not class_is_own(cls):
        return name
    digest = _digest(cls, None, lambda reach: reach.cls(cls))
    return record("own class", name, digest)


def _method(method: MethodType, walk: Walk) -> bytes:
    return record("method", walk(method.__func__, ".__func__"), walk(method.__self__, ".__self__"))


def _module(module: ModuleType, _walk: Walk) -> bytes:
    return record("module", module.__name__.encode())


def _function(func: FunctionType, walk: Walk) -> bytes:
    name = record("function", str(func.__module__).encode(), func.__qualname__.encode())
    if id(func) in walk:
        return name
    walk.add(id(func))
    try:
        return record("function", name, _code(func), *_held(func, walk))
    finally:
        walk.discard(id(func))


def _code(func: FunctionType) -> bytes:
    if not namespace_is_own(func.__globals__):
        return f"{module_name(func.__globals__)}.{func.__code__.co_qualname}".encode()
    return _digest(func.__code__, func.__globals__, lambda reach: reach.code_content(func))


def _held(func: FunctionType, walk: Walk) -> list[bytes]:
    implementations = implementations_of(func)
    if implementations:  # of functools.singledispatch, which keeps much else in its closure
        return [framed(walk(cls), walk(value, f".registry[{cls.__name__}]")) for cls, value in implementations]
    held = [framed(each, walk(value, f".__defaults__[{each!r}]")) for each, value in defaults_of(func)]
    return held + [framed(each, _cell(cell, each, walk)) for each, cell in cells_of(func)]


def _cell(cell: CellType, name: str, walk: Walk) -> bytes:
    try:
        value = cell.cell_contents
    except ValueError:
        return b""
    return walk(value, f".__closure__[{name!r}]")


def _digest(thing: Any, namespace: Mapping[str, Any] | None, start: Callable[[Reach], bytes]) -> bytes:
    """The digest of what a class or function reaches; kept, as it is asked for with every instance."""
    key = id(thing)
    known = _digests.get(key)
    if known is not None and known[0]() is thing and known[1] == id(namespace):
        return known[2]
    if key in _busy.identities:
        return b"inside itself"
    _busy.identities.add(key)
    try:
        reach = Reach()
        content = start(reach)
        reach.run()
    finally:
        _busy.identities.discard(key)
    digest = sha256(framed(content, *(framed(name, part) for name, part in sorted(reach.parts.items())))).digest()
    # An inner digest may have met the outer one "inside itself". Globals that are no module's may be gone tomorrow, and
    # others may have their identity.
    if not _busy.identities and (namespace is None or _is_of_module(namespace)):
        _digests[key] = (weakref.ref(thing, lambda _: _digests.pop(key, None)), id(namespace), digest)
    return digest


def _is_of_module(namespace: Mapping[str, Any]) -> bool:
    return getattr(sys.modules.get(module_name(namespace)), "__dict__", None) is namespace
