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
from typing import Any, Final, NamedTuple

from eagerly.cache._code_owner import can_be_typed_anew, class_is_own, module_name, namespace_is_own
from eagerly.cache._code_reach import Reach, cells_of, defaults_of, implementations_of
from eagerly.cache._code_value import framed
from eagerly.cache._code_watch import NOT_WATCHED, Watch
from eagerly.cache._encode import register_encoder
from eagerly.cache._encode_references import with_state
from eagerly.cache._encode_walk import HANDLERS, Walk, record

__all__ = ["register"]


class _Known(NamedTuple):
    thing: weakref.ref[Any]
    namespace: int
    """The identity of the globals it was seen with."""
    digest: bytes
    watch: Watch | None
    """What it was read from by name. None: it is good for one walk only, as nothing could tell that it is stale."""


_digests: dict[int, _Known] = {}
"""By the identity of a code object or class."""
MAX_DIGESTS: Final = 4096
"""What is watched is kept alive, so that they may not become ever more."""
_NOWHERE: Final[dict[str, Any]] = {}


_NOT_HELD: Final = frozenset(("__wrapped__", "__signature__", "__isabstractmethod__", "__type_params__"))


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


def _class(cls: type, walk: Walk) -> bytes:
    name = record("class", cls.__module__.encode(), cls.__qualname__.encode())
    if not class_is_own(cls):
        return name
    namespace = _namespace_of(cls)
    if id(cls) in walk:
        return name
    digest = _digest(cls, namespace, _is_named(cls, namespace), lambda reach: reach.cls(cls), walk)
    return with_state(cls, record("own class", name, digest), walk)


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
        return record("function", name, _code(func, walk), *_held(func, walk))
    finally:
        walk.discard(id(func))


def _code(func: FunctionType, walk: Walk) -> bytes:
    if not namespace_is_own(func.__globals__):
        return f"{module_name(func.__globals__)}.{func.__code__.co_qualname}".encode()
    namespace = func.__globals__
    # Globals that are no module's may be gone tomorrow, and others may have their identity.
    return _digest(func.__code__, namespace, _is_of_module(namespace), lambda reach: reach.code_content(func), walk)


def _held(func: FunctionType, walk: Walk) -> list[bytes]:
    implementations = implementations_of(func)
    if implementations:  # of functools.singledispatch, which keeps much else in its closure
        return [framed(walk(cls), walk(value, f".registry[{cls.__name__}]")) for cls, value in implementations]
    held = [framed(each, walk(value, f".__defaults__[{each!r}]")) for each, value in defaults_of(func)]
    own = vars(func)
    if own:  # what a decorator such as `retry(times=3)` may have set, but for what it took from the function inside
        held += [framed(b"has", each, walk(own[each], f".{each}")) for each in sorted(own) if each not in _NOT_HELD]
    return held + [framed(each, _cell(cell, each, walk)) for each, cell in cells_of(func)]


def _cell(cell: CellType, name: str, walk: Walk) -> bytes:
    try:
        value = cell.cell_contents
    except ValueError:
        return b""
    return walk(value, f".__closure__[{name!r}]")


def _digest(thing: Any, namespace: Mapping[str, Any], kept: bool, start: Callable[[Reach], bytes], walk: Walk) -> bytes:
    """The digest of what a class or function reaches; kept, as it is asked for with every instance.

    Args:
        thing: A class, or the code object of a function.
        namespace: The globals it was seen with.
        kept: Whether it may serve for other keys, as long as nothing that it reads by name is replaced.
        start: Refers to it.
        walk: The walk over the arguments of one call, during which a digest is looked at once.
    """
    key = id(thing)
    looked = ~key  # no identity of anything, so it is free in a set of identities
    known = _digests.get(key)
    if known is not None and known.thing() is thing and known.namespace == id(namespace):
        if looked in walk:
            return known.digest
        if known.watch is not None and not known.watch.changed():
            walk.add(looked)
            return known.digest
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
    if not _busy.identities:  # an inner digest may have met the outer one "inside itself"
        if len(_digests) >= MAX_DIGESTS:
            _digests.clear()
        watch: Watch | None = None
        if not can_be_typed_anew(namespace):
            if kept:
                watch = reach.watch(thing if isinstance(thing, type) else None)
            elif isinstance(thing, type):  # made in a function: as it was when first seen, which keeps nothing alive
                watch = NOT_WATCHED
        _digests[key] = _Known(weakref.ref(thing, lambda _: _digests.pop(key, None)), id(namespace), digest, watch)
        walk.add(looked)
    return digest


def _namespace_of(cls: type) -> dict[str, Any]:
    name: Any = cls.__module__  # which a class may set to anything
    module = sys.modules.get(name) if isinstance(name, str) else None
    return _NOWHERE if module is None else vars(module)


def _is_named(cls: type, namespace: Mapping[str, Any]) -> bool:
    """Whether a class can be found by its name, so that it lives as long as its module."""
    outer, *inner = cls.__qualname__.split(".")
    found = namespace.get(outer)
    for each in inner:
        found = vars(found).get(each) if isinstance(found, type) else None
    return found is cls


def _is_of_module(namespace: Mapping[str, Any]) -> bool:
    return getattr(sys.modules.get(module_name(namespace)), "__dict__", None) is namespace
