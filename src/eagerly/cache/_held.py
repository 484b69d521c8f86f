"""`held_by`: what a callable brings along besides its code, which stands in the key of each call like an argument.

That is the object a method is bound to, the arguments of a partial, the object that is called, and the variables of
enclosing functions (the cells of its closure); of the last also those of the functions it is wrapped around, or calls
through such a variable. They differ between two functions of one code, so none may be left out: what cannot be keyed is
refused. Exceptions are what runs and synchronises code (locks, events, loops, executors), as it has no data, and the
iterators of Python, which the function uses up. Code among them (functions, classes, modules, tasks) is the business
of `_code`, or counts by its name where a version is set.

Everything is read at each call, with one exception: a list, dict, set or an instance of a class of yours in a closure
counts as it was when it was first seen there, as it may be a counter or a collection that the function itself changes.
"""

from __future__ import annotations

import collections
import enum
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from types import CellType, FunctionType, MappingProxyType, MethodType
from typing import Any, Final, NamedTuple

from eagerly.cache._code_form import form_of
from eagerly.cache._code_owner import class_is_own, class_of, is_module, module_name, namespace_is_own
from eagerly.cache._code_reach import Reach, cells_of
from eagerly.cache._code_value import framed, full_name, is_machinery, wrapped_by
from eagerly.cache._code_watch import EMPTY, Watch, contents_of
from eagerly.cache._encode import encode
from eagerly.cache._encode_records import key_functions
from eagerly.cache._immutable import is_immutable
from eagerly.errors import UnkeyableArgument

__all__ = ["NOTHING", "Held", "encode_held", "held_by", "is_code", "refuse"]

CONTAINERS: Final = frozenset(
    (
        *(list, dict, set, bytearray, collections.deque),
        *(collections.OrderedDict, collections.defaultdict, collections.Counter),
    )
)
FIXED_CONTAINERS: Final = frozenset((tuple, frozenset, types.MappingProxyType))
NAMED: Final = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
IMMUTABLE_BASES: Final[tuple[type[Any], ...]] = (tuple, frozenset, str, bytes, int, float)


class Held(NamedTuple):
    """What a callable brings along.

    Attributes:
        values: What does not change as long as `watch` sees no change, encoded, each with what people call it.
        live: What has to be encoded at each call.
        names: The names of the code it holds, as it counts where a version is set.
        watch: The cells that all this was read from.
        cells: The identities of those whose contents are in `values` or `live`, and so not in the version of the code.
        whole: Other cells, whose contents are in the version of the code and have to be there completely.
        code: Functions and classes among bound arguments.
        first_seen: What counts as it was when it was first seen, where a version is set.
    """

    values: tuple[tuple[str, bytes], ...] = ()
    live: tuple[tuple[str, Any], ...] = ()
    names: bytes = b""
    watch: Watch = Watch()
    cells: frozenset[int] = frozenset()
    whole: Mapping[int, tuple[str, CellType]] = MappingProxyType({})
    code: tuple[Any, ...] = ()
    first_seen: Mapping[int, tuple[Any, bytes]] = MappingProxyType({})


NOTHING: Final = Held()


def held_by(func: Callable[..., Any], *, by_name: bool, before: Held = NOTHING) -> Held:
    """What `func` brings along, as it is now.

    Args:
        func: Anything that can be called.
        by_name: Whether its code counts by name, as where a version is set, and not in the version of the code.
        before: What it brought along when it was looked at last.

    Raises:
        UnkeyableArgument: Something that counts as it is now cannot be part of a key.
    """
    if class_of(func) is FunctionType and func.__closure__ is None and not vars(func):  # pyright: ignore[reportFunctionMemberAccess]
        return NOTHING
    gathering = _Gathering(by_name, before.first_seen)
    gathering.start(func)
    return gathering.finish()


def encode_held(value: Any, path: str) -> bytes:
    """The canonical bytes of something held.

    Raises:
        UnkeyableArgument: It cannot be part of a key; the ways out are those for what is held.
    """
    try:
        return encode(value, path)
    except UnkeyableArgument as error:
        raise UnkeyableArgument(
            f"{error}; or pass it to the task as an argument, and name that in cache_ignore", path=error.path
        ) from error.__cause__


def refuse(held: Held, cells: Iterable[int]) -> None:
    """Refuse cells that have something in them which cannot be part of a key.

    Raises:
        UnkeyableArgument: There is one.
    """
    for each in cells:
        path, cell = held.whole[each]
        raise _unkeyable(contents_of(cell), path)


def _unkeyable(value: Any, path: str) -> UnkeyableArgument:
    try:
        encode_held(value, path)
    except UnkeyableArgument as error:
        return error  # which says where in it
    return UnkeyableArgument(
        f"{path} has something in it that cannot be part of a cache key; pass it to the task as an argument, or make "
        "the key yourself with cache_hash=",
        path=path,
    )


class _Gathering:
    def __init__(self, by_name: bool, first_seen: Mapping[int, tuple[Any, bytes]]) -> None:
        self.by_name, self.first_seen = by_name, first_seen
        self.kept: dict[int, tuple[Any, bytes]] = {}
        self.values: list[tuple[str, bytes]] = []
        self.live: list[tuple[str, Any]] = []
        self.names: list[bytes] = []
        self.code: list[Any] = []
        self.seen: set[int] = set()
        self.cells: list[tuple[CellType, str]] = []
        self.read: list[tuple[CellType, Any]] = []
        self.assigned: set[int] = set()
        self.left_out: set[int] = set()
        self.whole: dict[int, tuple[str, CellType]] = {}

    def finish(self) -> Held:
        for cell, path in self.cells:
            if id(cell) not in self.assigned:  # by code that is reached: then it is state
                self._variable(cell, path)
        if not (self.values or self.live or self.names or self.read or self.code or self.assigned):
            return NOTHING
        return Held(
            tuple(self.values),
            tuple(self.live),
            framed(*self.names, *(path for path, _ in (*self.values, *self.live))),
            Watch(cells=self.read),
            frozenset(self.left_out | self.assigned),
            self.whole,
            tuple(self.code),
            self.kept,
        )

    def start(self, func: Any) -> None:
        """What is bound to the callable that was made a task: it is read at each call, whatever it is."""
        kind = class_of(func)
        if kind is functools.partial:
            self.start(func.func)
            self._bound_arguments(func)
        elif kind is MethodType:
            self.start(func.__func__)
            if isinstance(func.__self__, type):
                self._code(func.__self__)
            else:
                self.live.append(("the object it is bound to", func.__self__))
        elif _is_bound_builtin(func):
            self.live.append(("the object it is bound to", func.__self__))
        elif is_code(func):
            self._code(func, own=not self.seen)
        else:
            self.live.append(("the object that is called", func))

    def _bound_arguments(self, func: functools.partial[Any]) -> None:
        given = [*enumerate(func.args), *func.keywords.items()]
        if not any(is_code(value) for _, value in given):
            self.live.append(("its bound arguments", (func.args, func.keywords)))
            return
        for place, value in given:
            self.names.append(framed(b"bound", str(place)))
            if is_code(value):
                self.code.append((place, value))
                self._code(value)
            else:
                self.live.append((f"its bound argument {place!r}", value))

    def _code(self, value: Any, *, own: bool = False) -> None:
        """Code, and the variables of enclosing functions that it uses."""
        if self.by_name and not own:  # its own name is in the key anyway
            self.names.append(framed(b"code", _name(value)))
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        if class_of(value) is FunctionType:
            self._function(value, own)
        elif isinstance(value, type):
            if "<locals>" in value.__qualname__ and class_is_own(value):
                for attribute in vars(value).values():
                    for function in _functions_of(attribute):
                        self._code(function)
        else:
            wrapped = None if is_module(value) else wrapped_by(value)
            if wrapped is not None:
                self.start(wrapped)

    def _function(self, func: FunctionType, own: bool) -> None:
        form = form_of(func.__code__)
        user = namespace_is_own(func.__globals__)
        for name, cell in cells_of(func):
            value = contents_of(cell)
            if name in form.rebinds_free:
                self.assigned.add(id(cell))
            elif is_code(value):
                self.read.append((cell, value))
                self.names.append(name.encode("utf-8", "surrogatepass"))
                self._code(value)
            elif user:
                where = "of the enclosing function" if own else f"around {func.__qualname__}"
                self.cells.append((cell, f"variable {name!r} {where}"))
            elif self.by_name and is_immutable(value):  # of a decorator of a library, whose other state is its own
                self.cells.append((cell, f"variable {name!r} around {func.__qualname__}"))
        # An installed wrapper that keeps what it wraps elsewhere.
        wrapped = vars(func).get("__wrapped__")
        if wrapped is not None and is_code(wrapped):
            self._code(wrapped)

    def _variable(self, cell: CellType, path: str) -> None:
        if id(cell) in self.seen:
            return
        self.seen.add(id(cell))
        value = contents_of(cell)
        self.read.append((cell, value))
        if value is EMPTY:
            self.names.append(b"empty")
        elif counts_as_first_seen(value):
            if self.by_name:
                known = self.first_seen.get(id(cell))
                if known is None or known[0] is not value:
                    known = value, self._named(value, path)
                self.kept[id(cell)] = known
                self.values.append((path, known[1]))
            else:
                self.whole[id(cell)] = path, cell
        elif is_machinery(class_of(value)):
            self.names.append(framed(b"machinery", full_name(class_of(value))))
        else:
            self.left_out.add(id(cell))
            if is_immutable(value):
                self.values.append((path, encode_held(value, path)))
            else:
                self.live.append((path, value))

    def _named(self, value: Any, path: str) -> bytes:
        """A container or object, with code in it by its name."""
        self._code_inside(value)
        reach = Reach()
        reach.strict = True
        content = reach.refer(value, path, whole=True)
        if reach.unkeyable:
            raise _unkeyable(value, path)
        return framed(b"first seen", content)

    def _code_inside(self, value: Any) -> None:
        cls = class_of(value)
        parts: tuple[Any, ...] = ()
        if cls in (list, tuple, collections.deque):
            parts = tuple(value)
        elif cls in (dict, collections.OrderedDict, collections.defaultdict):
            parts = tuple(value.values())
        elif cls is functools.partial:
            parts = (value.func, *value.args, *value.keywords.values())
        elif cls is MethodType:
            parts = (value.__func__,)
        for each in parts:
            if is_code(each):
                self._code(each)


def is_code(value: Any) -> bool:
    """Whether a value is code, which another part of the key stands for."""
    kind = class_of(value)
    if kind is FunctionType or issubclass(kind, type) or is_module(value) or issubclass(kind, NAMED):
        return True
    if kind is types.BuiltinFunctionType:
        return not _is_bound_builtin(value)
    if kind in (MethodType, functools.partial):
        return False
    if kind.__module__ in ("typing", "types", "typing_extensions"):
        return kind not in (types.MappingProxyType, types.SimpleNamespace, types.MethodWrapperType)
    return not class_is_own(kind) and wrapped_by(value) is not None  # a task, or the wrapper of a library


def counts_as_first_seen(value: Any) -> bool:
    """Whether a value in a closure may be changed by the function itself, so that only its first state can count."""
    kind = class_of(value)
    if kind in CONTAINERS or kind in (MethodType, functools.partial) or _is_bound_builtin(value):
        return True
    if kind in FIXED_CONTAINERS:
        items = value.values() if kind is types.MappingProxyType else value
        return any(is_code(each) or counts_as_first_seen(each) for each in items)
    if isinstance(value, enum.Enum) or not class_is_own(kind) or issubclass(kind, IMMUTABLE_BASES):
        return False
    if any(base in key_functions or "__cache_key__" in vars(base) for base in kind.__mro__):
        return False  # somebody has said what stands for it at each moment
    return not getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)


def _is_bound_builtin(value: Any) -> bool:
    if class_of(value) not in (types.BuiltinFunctionType, types.MethodWrapperType):
        return False
    bound = value.__self__
    return bound is not None and not is_module(bound) and not isinstance(bound, type)


def _functions_of(attribute: Any) -> Iterable[FunctionType]:
    """The functions in an attribute of a class."""
    found: list[Any] = [attribute]
    holder: Any = attribute
    for cls, places in ((property, ("fget", "fset", "fdel")), (functools.cached_property, ("func",))):
        if isinstance(attribute, cls):
            found = [getattr(holder, each) for each in places]
    if isinstance(attribute, classmethod | staticmethod):
        found = [attribute.__func__]  # pyright: ignore[reportUnknownMemberType]  # of Any
    return [each for each in found if class_of(each) is FunctionType]


def _name(value: Any) -> str:
    if class_of(value) is FunctionType:
        return f"{module_name(value.__globals__)}.{value.__code__.co_qualname}"
    if is_module(value):
        return value.__name__
    return full_name(value)
