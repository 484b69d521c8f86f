"""What of a value counts for the version of code that uses it: constants and containers of them, and what holds code.

A value that can be changed while the program runs counts where the user says that it is constant, by an UPPER_CASE
name, and where it belongs to a function, as a default or in its closure.
"""

from __future__ import annotations

import abc
import collections
import enum
import functools
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from eagerly.cache._code_form import form_of
from eagerly.cache._code_owner import class_of
from eagerly.cache._code_watch import contents_of
from eagerly.cache._encode import encode
from eagerly.cache._immutable import is_immutable

if TYPE_CHECKING:
    from eagerly.cache._code_reach import Reach

__all__ = [
    "attributes_of",
    "framed",
    "full_name",
    "is_constant_name",
    "is_machinery",
    "is_of_attrs",
    "value_content",
    "wrapped_by",
]

_SCALARS = frozenset((int, float, complex, bool, str, bytes, type(None)))
_NAMED = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_SEQUENCES = (list, tuple, collections.deque)
_SETS = (set, frozenset)
_MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter, types.MappingProxyType)
_IMMUTABLE_CONTAINERS = (tuple, frozenset, types.MappingProxyType)
_HOLDERS: dict[type, tuple[str, ...]] = {
    property: ("fget", "fset", "fdel"),
    classmethod: ("__func__",),
    staticmethod: ("__func__",),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
    functools.cached_property: ("func",),
    functools.singledispatchmethod: ("dispatcher",),
}
"""What holds functions, and where."""
_IMMUTABLE_BASES: tuple[type[Any], ...] = (tuple, frozenset, str, bytes, int, float)
_EMPTY_BASES: tuple[Any, ...] = (object, abc.ABC, typing.Generic, typing.Protocol)
_NOT_STATE = frozenset(
    ("__doc__", "__annotations__", "__signature__", "__module__", "__name__", "__qualname__", "__type_params__")
)
_DERIVED_BY_ATTRS = frozenset(("__call__", "_first_param_type", "_global_name"))
"""What a converter of attrs keeps of the function in it, with its annotations."""
_MACHINERY = frozenset(("threading", "_thread", "asyncio", "_asyncio", "multiprocessing", "concurrent", "eagerly"))
_MAX_LOOKED_THROUGH = 10_000
_MAX_LEVELS = 2
_HOW_TO_COUNT = "it can be changed while the program runs; it counts under an UPPER_CASE name"


def framed(*parts: bytes | str) -> bytes:
    """The parts, each with its length, so that no two lists of parts give the same bytes."""
    raw = [part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join([b"%d:%s" % (len(part), part) for part in raw])


def is_constant_name(name: str) -> bool:
    """Whether people write a name like this for something that never changes."""
    return name.isupper()


def value_content(reach: Reach, value: Any, name: str, *, whole: bool) -> bytes:
    """The bytes that stand for a value which is no function, class or module. Arguments as for `Reach.refer`."""
    cls = class_of(value)
    if cls in _SCALARS:
        return framed(b"value", encode(value, name))
    if id(value) in reach.inside:
        return framed(b"inside itself", str(len(reach.inside) - reach.inside.index(id(value))))
    reach.inside.append(id(value))
    try:
        return _compound_content(reach, value, cls, name, whole=whole)
    finally:
        reach.inside.pop()


def _compound_content(reach: Reach, value: Any, cls: type, name: str, *, whole: bool) -> bytes:
    if cls is types.SimpleNamespace:
        return framed(cls.__name__, _compound_content(reach, vars(value), dict, name, whole=whole))
    if cls in _SEQUENCES or cls in _SETS or cls in _MAPPINGS:
        if not whole and cls not in _IMMUTABLE_CONTAINERS:
            return _code_inside(reach, value, cls, name)
        return framed(cls.__name__, *_items(reach, value, cls, name, whole=whole))
    if isinstance(value, _NAMED):
        bound = getattr(value, "__self__", None)
        holder = (
            framed(b"")
            if bound is None or isinstance(bound, types.ModuleType)
            else reach.refer(bound, name, whole=True)
        )
        return framed(b"named", full_name(value), holder)
    if cls in _HOLDERS:
        return framed(cls.__name__, *(reach.refer(getattr(value, each), name, whole=True) for each in _HOLDERS[cls]))
    return _instance(reach, value, cls, name, whole=whole)


def _instance(reach: Reach, value: Any, cls: type, name: str, *, whole: bool) -> bytes:
    if isinstance(value, enum.Enum):
        return framed(b"member", reach.refer(cls, name, whole=True), value.name or str(value.value))
    if is_immutable(value):
        return _encoded(reach, value, name)
    if cls.__module__ in ("typing", "typing_extensions") or cls in (types.GenericAlias, types.UnionType):
        return framed(b"typing", full_name(value), *_typing_parts(reach, value, name))
    if reach.owns_class(cls):
        return framed(reach.refer(cls, name, whole=True), _own_state(reach, value, cls, name, whole=whole))
    if whole and is_of_attrs(cls):
        state = [(each, item) for each, item in attributes_of(value).items() if each not in _DERIVED_BY_ATTRS]
        parts = (framed(each, reach.refer(item, name, whole=True)) for each, item in sorted(state))
        return framed(full_name(cls), *parts)
    return _installed_instance(reach, value, cls, name, whole=whole)


def is_of_attrs(cls: type) -> bool:
    """Whether instances are what attrs makes of what is said of a field: a validator, a converter, a factory."""
    return cls.__module__.partition(".")[0] in ("attr", "attrs")


def _items(reach: Reach, value: Any, cls: type, name: str, *, whole: bool) -> Iterable[bytes]:
    if cls in _MAPPINGS:
        keys, values = list(value), list(value.values())
        if _SCALARS.issuperset(map(type, keys)) and _SCALARS.issuperset(map(type, values)):
            # In order, unlike in an argument: who changes the order of a table in his source means something by it.
            yield from (encode(keys, name), encode(values, name))
        else:
            for key, item in zip(keys, values, strict=True):
                place = f"{name}[{key!r}]" if isinstance(key, str | int) else f"{name}[...]"
                yield reach.refer(key, place, whole=whole)
                yield reach.refer(item, place, whole=whole)
        if cls is collections.defaultdict:
            yield reach.refer(value.default_factory, name, whole=True)
    elif _SCALARS.issuperset(map(type, value)):
        yield encode(value if cls in _SETS else list(value), name)
    elif cls in _SETS:
        items = _in_lasting_order(reach, value)
        yield from sorted(reach.refer(item, f"{name}[...]", whole=whole) for item in items)
    else:
        for index, item in enumerate(value):
            yield reach.refer(item, f"{name}[{index}]", whole=whole)


def _code_inside(reach: Reach, value: Any, cls: type, name: str) -> bytes:
    """Of a container that may be state, the functions and classes that are in it, as in a table of handlers."""
    found = sorted(_references(reach, value, name, [_MAX_LOOKED_THROUGH]))
    skipped = reach.skip(name, f"{_a(cls)}: {_HOW_TO_COUNT}")
    return framed(skipped, *found) if found else skipped


def _references(reach: Reach, value: Any, name: str, left: list[int]) -> Iterable[bytes]:
    left[0] -= len(value)
    if left[0] < 0:
        return
    items: Iterable[Any] = _in_lasting_order(reach, value) if type(value) in _SETS else value
    pairs: list[tuple[Any, Any]] = list(value.items()) if type(value) in _MAPPINGS else [("", each) for each in items]
    for key, item in pairs:
        kind, label = class_of(item), str(key) if type(key) in _SCALARS else ""
        if kind in _SCALARS:
            continue
        if kind in _SEQUENCES or kind in _SETS or kind in _MAPPINGS:
            if id(item) not in reach.inside:
                reach.inside.append(id(item))
                yield from (framed(label, each) for each in _references(reach, item, name, left))
                reach.inside.pop()
        elif kind is types.FunctionType or isinstance(item, type) or wrapped_by(item) is not None:
            yield framed(label, reach.refer(item, f"{name}[...]", whole=False))
        elif kind in (types.MethodType, functools.partial, staticmethod, classmethod):
            function = item.func if kind is functools.partial else item.__func__
            yield from (framed(label, each) for each in _references(reach, (function,), name, left))


def _in_lasting_order(reach: Reach, values: Collection[Any]) -> list[Any]:
    """The items of a set in an order that another process will find too, as pieces are numbered as they are met."""
    return sorted(values, key=lambda item: b"" if is_immutable(item) else _outline(reach, item, _MAX_LEVELS, ()))


def _outline(reach: Reach, item: Any, levels: int, inside: tuple[int, ...]) -> bytes:
    """What something is made of, without identities and without what code reaches by name.

    Args:
        reach: Whose code is whose.
        item: Anything.
        levels: How far to look into functions and classes: their variables may lead to each other.
        inside: The identities of what this is in.
    """
    if class_of(item) in _SCALARS:
        return encode(item, "an item")
    if id(item) in inside:
        return b"inside itself"
    name, parts, deeper = _parts(reach, item, class_of(item))
    if levels < deeper:
        return framed(name)
    found = [_outline(reach, part, levels - deeper, (*inside, id(item))) for part in parts]
    return framed(name, *(sorted(found) if class_of(item) in _SETS else found))


def _parts(reach: Reach, item: Any, cls: type) -> tuple[str | bytes, Iterable[Any], int]:  # noqa: C901 - one by one
    """For `_outline`: what tells something from others, its parts, and whether it is code."""
    name = full_name(cls)
    if cls is types.FunctionType:
        cells = [contents_of(cell) for cell in item.__closure__ or ()]
        defaults: list[Any] = [*(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values()]
        return framed(full_name(item), form_of(item.__code__).body), [*defaults, *cells], 1
    if isinstance(item, type):
        own = sorted(vars(item).items()) if "<locals>" in item.__qualname__ and reach.owns_class(item) else ()
        return full_name(item), [each for each in own if type(each[1]) in (*_SCALARS, types.FunctionType)], 1
    if cls in _SEQUENCES or cls in _SETS:
        return name, item, 0
    if cls in _MAPPINGS:
        return name, item.items(), 0
    if cls in _HOLDERS:
        return name, [getattr(item, each) for each in _HOLDERS[cls]], 0
    if cls is types.MethodType:
        return name, (item.__func__, item.__self__), 0
    if isinstance(item, enum.Enum):
        return framed(name, str(item.name)), (), 0
    if (wrapped := wrapped_by(item)) is not None:
        return name, (wrapped,), 0
    if reach.owns_class(cls) or is_of_attrs(cls):
        return name, [*sorted(attributes_of(item).items()), *(item if isinstance(item, tuple) else ())], 0
    try:
        return encode(item, "an item"), (), 0
    except Exception:
        return name, (), 0


def _own_state(reach: Reach, value: Any, cls: type, name: str, *, whole: bool) -> bytes:
    """The attributes of an instance, and its items if it is a tuple."""
    parameters = getattr(cls, "__dataclass_params__", None)
    frozen = getattr(parameters, "frozen", False) or issubclass(cls, _IMMUTABLE_BASES)
    if not any((whole, frozen, callable(value), hasattr(cls, "__get__"))):
        return reach.skip(name, f"an instance of {cls.__qualname__}, whose code counts; {_HOW_TO_COUNT}")
    state = sorted((each, item) for each, item in attributes_of(value).items() if each not in _NOT_STATE)
    contents = [framed(each, reach.refer(item, f"{name}.{each}", whole=True)) for each, item in state]
    if issubclass(cls, tuple | list):
        contents += [reach.refer(item, f"{name}[{index}]", whole=True) for index, item in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    elif any(not reach.owns_class(base) and base not in _EMPTY_BASES for base in cls.__mro__):
        contents.append(_encoded(reach, value, name))  # what it has from there may be more than attributes
    return framed(*contents)


def attributes_of(value: Any) -> dict[str, Any]:
    """What is in ``__dict__`` and in slots."""
    found = dict(getattr(value, "__dict__", {}))
    for base in class_of(value).__mro__:
        for name, descriptor in vars(base).items():
            if isinstance(descriptor, types.MemberDescriptorType) and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
    return found


def _installed_instance(reach: Reach, value: Any, cls: type, name: str, *, whole: bool) -> bytes:
    """An instance of a class from a library. If it can be called, maybe a decorated function, what it holds counts."""
    wrapped = wrapped_by(value)
    if wrapped is not None:
        return framed(b"wrapper", full_name(cls), reach.refer(wrapped, f"{name}.__wrapped__", whole=True))
    if cls.__module__ == "unittest.mock":
        return framed(
            full_name(cls), reach.skip(name, f"{_a(cls)}, which cannot be part of a key")
        )  # looking changes it
    if callable(value):
        held = {each: item for each, item in attributes_of(value).items() if callable(item) and each not in _NOT_STATE}
        contents = [
            framed(each, reach.refer(item, f"{name}.{each}", whole=True)) for each, item in sorted(held.items())
        ]
        return framed(
            b"callable", full_name(cls), full_name(value), *contents, _called(reach, value, name, whole, held)
        )
    if whole:
        return _encoded(reach, value, name)
    return reach.skip(name, f"{_a(cls)}: {_HOW_TO_COUNT}")


def _called(reach: Reach, value: Any, name: str, whole: bool, held: Mapping[str, Any]) -> bytes:
    """What a callable instance from a library is made of besides functions, such as the coefficients of a model."""
    if whole:
        try:
            return framed(b"value", encode(value, name))
        except Exception:
            if held and not reach.strict:  # then what it keeps besides, maybe results, is its own business
                return b""
    elif held:
        return b""
    return _encoded(reach, value, name) if whole else reach.skip(name, f"{_a(class_of(value))}: {_HOW_TO_COUNT}")


def wrapped_by(value: Any) -> Callable[..., Any] | None:
    """What a decorator from a library says that it wraps; tasks say it too."""
    if "__wrapped__" not in getattr(value, "__dict__", {}) and not any(
        "__wrapped__" in vars(base) for base in type(value).__mro__
    ):
        return None
    try:
        found = getattr(value, "__wrapped__", None)
    except Exception:
        return None
    return found if callable(found) else None


def _typing_parts(reach: Reach, value: Any, name: str) -> Iterable[bytes]:
    for each in ("__origin__", "__args__", "__metadata__", "__forward_arg__"):
        part = getattr(value, each, None)
        if part is not None and part is not value:
            yield framed(each, reach.refer(part, name, whole=True))


def _encoded(reach: Reach, value: Any, name: str) -> bytes:
    try:
        return framed(b"value", encode(value, name))
    except Exception:
        cls = class_of(value)
        if not is_machinery(cls):
            reach.unkeyable += 1
        return framed(full_name(cls), reach.skip(name, f"{_a(cls)}, which cannot be part of a key"))


def is_machinery(cls: type) -> bool:
    """Whether instances have no data, but run or synchronise code, as locks, events, loops and executors do; or are
    used up as it runs, as iterators of Python are.
    """
    return cls.__module__.partition(".")[0] in _MACHINERY or (
        cls.__module__ in ("builtins", "itertools") and hasattr(cls, "__next__")
    )


def full_name(value: Any) -> str:
    """The name of a thing that has one, with its module."""
    for attribute in ("__qualname__", "__name__", "_name"):
        name = getattr(value, attribute, None)
        if isinstance(name, str):
            return f"{getattr(value, '__module__', '')}.{name}"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _a(cls: type) -> str:
    return f"{'an' if cls.__name__[:1].lower() in 'aeiou' else 'a'} {cls.__name__}"
