"""Encodings of instances: by what their class says, by their attributes, or by what pickle would rebuild them from.

For each class the first of these that applies:

1. what `register_key` or `__cache_key__` says, of the nearest class in the method resolution order;
2. the handlers of NumPy, pandas, polars and Arrow;
3. enum members: class, name and value;
4. dataclasses, attrs and pydantic: all attributes, whatever ``compare``, ``eq`` or ``exclude`` say, but not which of
   the fields of a pydantic model were given and which are defaults: such models are equal;
5. everything else: `__reduce_ex__`, whose parts are encoded, never pickled. Where a library says so what there is to an
   instance of a class of the user's, the attributes that it knows nothing of count too.

What a `functools.cached_property` has stored does not count: it follows from the rest, and whether it is there
depends on who has looked. So assigning to a cached property does not change the key.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import contextlib
import copyreg
import dis
import enum
import functools
import io
import pathlib
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from eagerly.cache._code_owner import class_is_own
from eagerly.cache._encode_containers import encode_items, encode_pairs, encode_sorted, key_step
from eagerly.cache._encode_references import (
    HEAP_TYPE,
    class_reference,
    constructor_reference,
    global_reference,
)
from eagerly.cache._encode_scalars import encode_text
from eagerly.cache._encode_walk import HANDLERS, Handler, Refused, Walk, failure, guarded, record

__all__ = ["LIBRARIES", "derived_attributes", "encode_reduced", "forget_resolved", "key_functions", "resolve"]

LIBRARIES: Final[dict[str, Callable[[type], Handler | None]]] = {}
"""By top-level package: finds the handler of a class that has one of its classes among its bases."""

key_functions: Final[dict[type, Callable[[Any], Any]]] = {}
"""What users have registered."""

PICKLE_PROTOCOL: Final = 4

READ_ONCE: Final = "it is an iterator, which can be read only once"
REFUSED: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    ((types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType), "what it yields can be read only once"),
    (types.ModuleType, "a module has state that changes"),
    (io.IOBase, "an open file is more than its contents at this moment"),
)

_resolved: Final[dict[int, tuple[weakref.ref[type], Handler]]] = {}
"""By the id of the class, so that classes are not kept alive."""


def resolve(cls: type) -> Handler:
    """The handler of the instances of `cls`, which none is registered for."""
    known = _resolved.get(id(cls))
    if known is not None and known[0]() is cls:
        return known[1]
    found = _find(cls)
    handler = found if found is HANDLERS[type] else guarded(found)

    def forget(_: weakref.ref[type], key: int = id(cls)) -> None:
        _resolved.pop(key, None)

    _resolved[id(cls)] = (weakref.ref(cls, forget), handler)
    return handler


def forget_resolved() -> None:
    """Ask again for every class."""
    _resolved.clear()


def _find(cls: type) -> Handler:
    if (handler := _by_user(cls)) is not None:
        return handler
    if issubclass(cls, type):
        return HANDLERS[type]
    for refused, reason in REFUSED:
        if issubclass(cls, refused):
            return _refuse(reason)
    if issubclass(cls, enum.Enum):
        return _enum
    if (handler := _by_library(cls)) is not None:
        return handler
    return _Fields(cls) if _has_only_fields(cls) else _Reduced(cls)


def _by_user(cls: type) -> Handler | None:
    for base in cls.__mro__:
        if base in key_functions:
            return _by_key(key_functions[base])
        if base.__dict__.get("__cache_key__") is not None:
            return _by_own_key
    return None


def _by_library(cls: type) -> Handler | None:
    for base in cls.__mro__:
        module: Any = base.__module__
        find = LIBRARIES.get(module.partition(".")[0]) if isinstance(module, str) else None
        if find is not None and (handler := find(cls)) is not None:
            return handler
    return None


def _has_only_fields(cls: type) -> bool:
    """Whether it is declared by its fields, and no class of C among its bases keeps something elsewhere."""
    marks = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
    bases = cls.__mro__[:-1]
    return any(hasattr(cls, mark) for mark in marks) and all(base.__flags__ & HEAP_TYPE for base in bases)


def _refuse(reason: str) -> Handler:
    def refuse(value: Any, _walk: Walk) -> bytes:
        raise Refused(reason, value)

    return refuse


def _by_key(function: Callable[[Any], Any]) -> Handler:
    def encode_key(value: Any, walk: Walk) -> bytes:
        return _said("the function that is registered for it", function, value, walk)

    return encode_key


def _by_own_key(value: Any, walk: Walk) -> bytes:
    return _said("its __cache_key__", lambda each: each.__cache_key__(), value, walk)


def _said(who: str, ask: Callable[[Any], Any], value: Any, walk: Walk) -> bytes:
    try:
        key = ask(value)
    except RecursionError:
        raise
    except Exception as error:
        raise Refused(f"{who} {failure(error)}", value) from error
    if key is None:  # a forgotten `return`: all instances would be one
        raise Refused(
            f"{who} returned None; return what stands for it, such as a tuple of its fields, or a constant string if "
            f"all instances are alike",
            value,
        )
    if key is value:
        raise Refused(f"{who} returned the object itself; return what stands for it", value)
    return record("key", class_reference(type(value), walk), walk(key))


def _enum(value: enum.Enum, walk: Walk) -> bytes:
    name: str | None = value._name_  # what `name` returns may be overridden
    try:
        content = walk(value._value_)
    except Refused:
        content = b""  # an object that is there only to be different from others
    return record("enum", class_reference(type(value), walk), encode_text(name or ""), content)


class _Fields:
    """Encodes instances whose attributes are all there is to them."""

    __slots__ = ("derived", "slots")

    def __init__(self, cls: type) -> None:
        self.derived = derived_attributes(cls)
        self.slots: dict[str, int] = {}
        """Where in the method resolution order each slot is. The slots themselves would keep the class alive."""
        for place, base in reversed([*enumerate(cls.__mro__)]):
            for name, member in vars(base).items():
                if type(member) is types.MemberDescriptorType and name not in self.derived:
                    self.slots[name] = place

    def __call__(self, value: Any, walk: Walk) -> bytes:
        cls: type = type(value)
        found: dict[Any, Any] = dict(getattr(value, "__dict__", {}))
        for name, place in self.slots.items():
            with contextlib.suppress(AttributeError):  # an empty slot; getattr() would ask __getattr__
                found[name] = vars(cls.__mro__[place])[name].__get__(value, cls)
        return record("fields", class_reference(cls, walk), encode_state(found, walk, self.derived))


class _Reduced:
    """Encodes instances by the parts from which pickle would rebuild them."""

    __slots__ = ("assigned", "derived", "lossy", "ordered")

    def __init__(self, cls: type, derived: frozenset[str] = frozenset()) -> None:
        self.derived = derived_attributes(cls) | derived
        self.lossy = _is_told_by_library(cls)
        self.assigned: frozenset[str] | None = None
        """The attributes that the library itself assigns; None until that is asked for."""
        self.ordered = not issubclass(cls, dict) or issubclass(cls, OrderedDict)

    def __call__(self, value: Any, walk: Walk) -> bytes:
        cls: type = type(value)
        if hasattr(cls, "__next__"):
            raise Refused(READ_ONCE, value)
        if issubclass(cls, (set, frozenset)):  # their reduced form lists the items in the order of their hashes
            base: type[Any] = set if issubclass(cls, set) else frozenset
            content = encode_sorted(list(base.__iter__(value)), walk)
            state = encode_state(object.__getstate__(value), walk, self.derived)
            return record("set", class_reference(cls, walk), content, state)
        if issubclass(cls, pathlib.PurePath):
            extra = getattr(value, "__dict__", None)
            return record("path", class_reference(cls, walk), encode_text(value.__fspath__()), walk(extra))
        reduce: Any = copyreg.dispatch_table.get(cls)
        try:
            reduced: Any = reduce(value) if reduce else value.__reduce_ex__(PICKLE_PROTOCOL)
        except RecursionError:
            raise
        except Exception as error:
            raise Refused("it has no contents that could be told, and pickle refuses it too", value) from error
        if isinstance(reduced, str):
            return self.by_name(value, reduced, walk)
        parts: tuple[Any, ...] = (*reduced, None, None, None, None)[:6]
        function, arguments, state, items, pairs, setter = parts
        if any(type(argument) is int and argument == id(value) for argument in arguments):
            raise Refused("it is known by its address only", value)
        return record(
            "reduced",
            self.made_by(function, arguments, walk),
            encode_state(state, walk, self.derived),
            b"" if items is None else encode_items(list(items), walk),
            b"" if pairs is None else encode_pairs(pairs, walk, ordered=self.ordered),
            b"" if setter is None else constructor_reference(setter, walk),
            *(self.untold(value, state, walk) if self.lossy and reduce is None else ()),
        )

    def untold(self, value: Any, state: Any, walk: Walk) -> list[bytes]:
        """The attributes that the library leaves out of what it tells: it does not know those of a subclass."""
        states: tuple[Any, ...] = state if type(state) is tuple else (state,)
        told = {*self.derived, *(name for each in states if type(each) is dict for name in each)}
        encoded: list[bytes] = []
        for name, item in _attributes(value).items():
            if name in told:
                continue
            try:
                encoded.append(record("untold", walk(name), walk(item, _attribute_step(name))))
            except Refused:
                if self.assigned is None:
                    self.assigned = _assigned_by_library(type(value))
                if name not in self.assigned:
                    raise
                # A lock or a pool of the library, which knows why it leaves it out.
        return sorted(encoded)

    @staticmethod
    def made_by(function: Any, arguments: tuple[Any, ...], walk: Walk) -> bytes:
        """The constructor and what it is given. That of most instances is told by their class."""
        if function is copyreg.__newobj__ and isinstance(arguments[0], type):  # type: ignore[attr-defined]  # not in typeshed
            return record("new", class_reference(arguments[0], walk), encode_items(arguments[1:], walk))
        if function is copyreg.__newobj_ex__:  # type: ignore[attr-defined]  # not in typeshed
            cls, positional, named = arguments
            return record("new", class_reference(cls, walk), encode_items(positional, walk), walk(named))
        return record("call", constructor_reference(function, walk), encode_items(arguments, walk))

    @staticmethod
    def by_name(value: Any, name: str, walk: Walk) -> bytes:
        """What pickle finds by its name. What it wraps, a function most often, says what its code is."""
        named = global_reference(value, name)
        wrapped = getattr(value, "__wrapped__", None)
        return named if wrapped is None else record("wrapper", named, walk(wrapped, ".__wrapped__"))


encode_reduced: Final[Callable[[type, frozenset[str]], Handler]] = _Reduced


def encode_state(state: Any, walk: Walk, derived: frozenset[str] = frozenset()) -> bytes:
    """What `__getstate__` returns, without the attributes that follow from others; nothing if there is none."""
    if state is None:
        return b""
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict and type(state[0]) in (dict, type(None)):
        return record("state", encode_state(state[0], walk, derived), encode_state(state[1], walk, derived))
    if type(state) is not dict:
        return b"v" + walk(state)
    pairs = [pair for pair in state.items() if pair[0] not in derived] if derived else list(state.items())
    return b"a" + encode_pairs(pairs, walk, step=_attribute_step) if pairs else b""


def _is_told_by_library(cls: type) -> bool:
    """Whether it is a class of the user's, and one among its bases that is not says what pickle keeps of it."""
    is_own = False
    for base in cls.__mro__[:-1]:
        own = class_is_own(base)
        if not vars(base).keys().isdisjoint(("__getstate__", "__reduce__", "__reduce_ex__")):
            return is_own and not own
        is_own |= own
    return False


def _attributes(value: Any) -> dict[Any, Any]:
    """What is in `__dict__` and in the slots of the user's classes."""
    cls: type = type(value)
    found: dict[Any, Any] = dict(getattr(value, "__dict__", {}))
    for base in cls.__mro__:
        for name, member in vars(base).items() if class_is_own(base) else ():
            if type(member) is types.MemberDescriptorType:
                with contextlib.suppress(AttributeError):  # an empty slot
                    found.setdefault(name, member.__get__(value, cls))
    return found


def _assigned_by_library(cls: type) -> frozenset[str]:
    """The names of attributes that are assigned in the modules of those of the classes that are not the user's."""
    bases = [base for base in cls.__mro__ if not class_is_own(base)]
    modules = {base.__module__ for base in bases}
    values = [value for name in modules if name in sys.modules for value in vars(sys.modules[name]).values()]
    classes = [*bases, *(value for value in values if isinstance(value, type) and value.__module__ in modules)]
    return frozenset(
        step.argval
        for value in [*values, *(each for namespace in map(vars, classes) for each in namespace.values())]
        if isinstance(value, types.FunctionType)
        for step in dis.get_instructions(value)
        if step.opname == "STORE_ATTR"
    )


def _attribute_step(name: Any) -> str:
    return f".{name}" if type(name) is str else key_step(name)


def derived_attributes(cls: type) -> frozenset[str]:
    """The attributes in which instances of `cls` keep what follows from the others."""
    seen: set[str] = set()
    found = {"_attrs_cached_hash"} if hasattr(cls, "__attrs_attrs__") else set[str]()
    if hasattr(cls, "__pydantic_fields__"):
        found.add("__pydantic_fields_set__")
    for base in cls.__mro__:
        namespace = vars(base)
        for name, attribute in namespace.items():
            if name not in seen and isinstance(attribute, functools.cached_property):
                found.add(name)
        seen.update(namespace)
        if "__attrs_attrs__" in namespace and "__slots__" in namespace:
            # attrs gives each cached property of a slotted class a slot, beside those of the attributes.
            attributes = {attribute.name for attribute in namespace["__attrs_attrs__"]}
            found.update(name for name in namespace["__slots__"] if name not in attributes)
    return frozenset(found)


def _partial(value: functools.partial[Any], walk: Walk) -> bytes:
    extra: Any = vars(value)
    return record(
        "partial",
        walk(value.func, ".func"),
        walk(value.args, ".args"),
        walk(value.keywords, ".keywords"),
        walk(extra) if extra else b"",
    )


HANDLERS[functools.partial] = guarded(_partial)
