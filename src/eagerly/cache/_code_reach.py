"""`Reach`: everything of the user's that a function can get to, and a digest of each piece.

A piece is a function, a class or a global value. Its content names the pieces it refers to instead of containing them,
so that recursion needs no care, and an edit changes the digest of the piece that was edited and of no other. Nothing
here calls the user's functions, imports a module or changes anything.
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from hashlib import sha256
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

from eagerly.cache._code_about import about_content, kinds_of_attributes, kinds_of_functions
from eagerly.cache._code_class import class_content
from eagerly.cache._code_form import Form, form_of
from eagerly.cache._code_imports import imported, module_named
from eagerly.cache._code_owner import class_of, is_at_its_name, is_module, is_own, module_name, place_of, place_of_class
from eagerly.cache._code_value import framed, is_constant_name, is_of_attrs, value_content, wrapped_by
from eagerly.cache._code_watch import ABSENT, EMPTY, Name, Watch, contents_of

__all__ = ["Reach", "cells_of", "defaults_of", "implementations_of"]

_MODULE_ATTRIBUTES = frozenset(
    (
        *("__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__path__", "__cached__"),
        *("__builtins__", "__annotations__", "__dict__", "__debug__"),
    )
)
"""Globals that Python sets, which say where a module is rather than what it does."""
SKIPPED: Final = b"skipped"


class Reach:
    """A walk over what is reached. `run` ends it; then `parts`, `skipped` and `refused` are complete.

    Args:
        held: The identities of the cells whose contents stand in the key like arguments: they are left out here.
        whole: Those of the cells that have to be complete, and may not have anything skipped.
        package: A package that is the user's here although it was installed: that of the task.
    """

    def __init__(self, held: Collection[int] = (), whole: Collection[int] = (), package: str | None = None) -> None:
        self.parts: dict[str, bytes] = {}
        """SHA-256 of the content of each piece, by what people call it."""
        self.skipped: dict[str, str] = {}
        self.refused: set[int] = set()
        """The identities of those cells that had to be complete, and are not."""
        self._held, self._whole, self._package = held, whole, package
        self.strict = False
        """Whether what is being written down has to be complete."""
        self.unkeyable = 0
        """How many values had to be skipped that may have data."""
        self.inside: list[int] = []
        """The identities of the containers and instances that are being written down at this moment."""
        self._names: dict[Any, str] = {}
        self._taken: set[str] = set()
        self._kept: list[Any] = []  # as identities are only good for objects that live
        self._code: deque[tuple[str, Callable[[str], bytes]]] = deque()
        # Values come last: only then it is known which of them the reached code assigns itself.
        self._values: deque[tuple[str, Callable[[str], bytes]]] = deque()
        self._rebound: set[tuple[int, str]] = set()
        self._seen: dict[tuple[int, str], Name] = {}
        self._cells: dict[int, tuple[CellType, Any]] = {}
        self._assigned_cells: set[int] = set()
        self._classes: list[type] = []
        self._attributes: set[str] = set()
        self._functions: list[tuple[str, FunctionType]] = []
        self._about: set[str] = set()

    def run(self) -> None:
        """Write down every piece that has been referred to, and those they refer to."""
        while True:
            if not self._code:
                self._follow_up()
            queue = self._code or self._values
            if not queue:
                return
            name, write = queue.popleft()
            self.parts[name] = sha256(self.attempt(name, partial(write, name))).digest()

    def _follow_up(self) -> None:
        """Add what the code asks for by other ways than names: about the pieces there are, and their subclasses."""
        if "__subclasses__" in self._attributes:
            for cls in self._classes:  # which grows
                found: list[type] = sorted(type.__subclasses__(cls), key=lambda sub: (sub.__module__, sub.__qualname__))
                for each in found:
                    if self.owns_class(each) and is_at_its_name(each):  # not one that waits for garbage collection
                        self.cls(each)
        for kind in sorted(self._about):
            classes: list[tuple[str, type]] = [(self._names[id(cls)], cls) for cls in self._classes]
            things: list[tuple[str, FunctionType | type]] = [*self._functions, *classes]
            for name, thing in things:
                write = partial(about_content, self, thing, kind)
                self.piece((kind, id(thing)), thing, f"{name} ({kind})", write, code=True)

    def owns(self, namespace: Mapping[str, Any]) -> bool:
        """Whether code with these globals is the user's."""
        return self.owns_file(*place_of(namespace))

    def owns_class(self, cls: type) -> bool:
        """Whether the user wrote `cls`."""
        place = place_of_class(cls)
        return place is not None and self.owns_file(*place)

    def owns_file(self, name: str, file: str | None) -> bool:
        """Whether a module of that name and file is the user's."""
        return is_own(name, file) or (self._package is not None and name.partition(".")[0] == self._package)

    def reads_attributes(self, attributes: frozenset[str]) -> None:
        """Take note of what reached code reads of anything."""
        self._attributes |= attributes
        self._about |= kinds_of_attributes(attributes)

    def reads_about(self, module: str, names: Iterable[str]) -> None:
        """Take note of what reached code may call in a module that is not the user's."""
        self._about |= kinds_of_functions(module, names)

    def watch(self, argument: type | None = None) -> Watch:
        """What was read by name, but for what the reached code assigns itself.

        Args:
            argument: A class of which other code, which is not reached, may read any attribute.
        """
        if argument is not None:
            for base in filter(self.owns_class, argument.__mro__):
                self._attributes.update(each for each in vars(base) if not each.startswith("__"))
        names = {key: name for key, name in self._seen.items() if key not in self._rebound}
        for cls in self._classes:
            own = vars(cls)
            inherited = [vars(base) for base in cls.__mro__[1:] if self.owns_class(base)]
            for each in self._attributes:
                if each in own:
                    names[id(cls), each] = own, each, own[each]
                elif any(each in namespace for namespace in inherited):
                    names[id(cls), each] = own, each, ABSENT
        return Watch(names.values(), (each for key, each in self._cells.items() if key not in self._assigned_cells))

    def attempt(self, name: str, look: Callable[[], bytes]) -> bytes:
        """Look at something of the user's, whose attributes may do and raise anything."""
        try:
            return look()
        except Exception as error:
            return self.skip(name, f"looking at it failed with {type(error).__name__}")

    def skip(self, name: str, reason: str) -> bytes:
        """Leave something out, and say so."""
        self.skipped[name] = reason
        return SKIPPED

    def refer(self, value: Any, name: str, *, whole: bool) -> bytes:
        """The bytes that stand for `value` in the content of a piece.

        Args:
            value: Anything.
            name: What people call it, should it be skipped.
            whole: Whether it counts even if it can be changed while the program runs.
        """
        kind = class_of(value)
        if kind is FunctionType:
            return self.function(value)
        if issubclass(kind, type):
            return self.cls(value)
        if kind is MethodType:
            return framed(
                b"method", self.refer(value.__func__, name, whole=whole), self.refer(value.__self__, name, whole=True)
            )
        if is_module(value):
            return framed(b"module", value.__name__)
        return self.attempt(name, lambda: value_content(self, value, name, whole=whole))

    def piece(self, key: Any, keep: Any, name: str, write: Callable[[str], bytes], *, code: bool = False) -> bytes:
        """Refer to a piece, which is written down later, once."""
        known = self._names.get(key)
        if known is None:
            known, number = name, 1
            while known in self._taken:
                number += 1
                known = f"{name} #{number}"
            self._names[key] = known
            self._taken.add(known)
            self._kept.append(keep)
            (self._code if code else self._values).append((known, write))
        return framed(b"see", known)

    def function(self, func: FunctionType, name: str | None = None) -> bytes:
        """Refer to a function; to one that was installed by its name, and to what of the user's it holds."""
        module = module_name(func.__globals__)
        full = f"{module}.{func.__code__.co_qualname}" if name is None else name
        if self.owns(func.__globals__):
            if id(func) not in self._names:
                self._functions.append((full, func))
            return self.piece(id(func), func, full, lambda called: self._own_function(func, called), code=True)
        self.reads_about(module, (func.__code__.co_qualname,))
        if func.__closure__ is None and not vars(func):
            return framed(b"installed", full)
        return self.piece(id(func), func, full, lambda _: self._installed_function(func, full), code=True)

    def cls(self, cls: type) -> bytes:
        """Refer to a class; to one that was installed by its name."""
        full = f"{cls.__module__}.{cls.__qualname__}"
        if not self.owns_class(cls):
            return framed(b"installed", full)
        if id(cls) not in self._names:
            self._classes.append(cls)
        return self.piece(id(cls), cls, full, lambda called: class_content(self, cls, called), code=True)

    def code_content(self, func: FunctionType) -> bytes:
        """The code of a function, what it reads of its module, and its class."""
        form, namespace = form_of(func.__code__), func.__globals__
        self._rebound.update((id(namespace), each) for each in form.rebinds)
        self.reads_attributes(form.attributes)
        return framed(
            form.body,
            *(self.attempt(".".join(chain), partial(self._read, namespace, chain)) for chain in form.reads),
            *(self.attempt(each.module, partial(imported, self, namespace, each, form)) for each in form.imports),
            self._class_around(func),
        )

    def _own_function(self, func: FunctionType, name: str) -> bytes:
        form = form_of(func.__code__)
        return framed(
            self.code_content(func),
            *(self.refer(value, f"{name}({each}=)", whole=True) for each, value in defaults_of(func)),
            *(self._free(cell, each, name, form) for each, cell in cells_of(func)),
            *self._wrapped(func, name),
        )

    def _free(self, cell: CellType, variable: str, name: str, form: Form) -> bytes:
        place = f"{name}: {variable}"
        if variable in form.rebinds_free:
            self._assigned_cells.add(id(cell))
            return self.skip(place, "reached code assigns it (nonlocal), so it is state and not code")
        if id(cell) in self._held:
            return framed(b"held")
        value = contents_of(cell)
        self._cells[id(cell)] = cell, value
        if value is EMPTY:
            return framed(b"empty")
        if is_module(value):
            return framed(self.refer(value, place, whole=True), *self.read_anything(value, form))
        if id(cell) not in self._whole:
            return self.refer(value, place, whole=True)
        before, self.strict = self.unkeyable, True
        content = self.refer(value, place, whole=True)
        self.strict = False
        if self.unkeyable > before:
            self.refused.add(id(cell))
        return content

    def _wrapped(self, func: FunctionType, name: str) -> Iterable[bytes]:
        own = vars(func)
        if "__wrapped__" in own:
            yield self.refer(own["__wrapped__"], f"{name}.__wrapped__", whole=True)
        for cls, implementation in implementations_of(func):
            yield framed(self.refer(cls, name, whole=True), self.refer(implementation, name, whole=True))

    def _installed_function(self, func: FunctionType, name: str) -> bytes:
        """A function of a library, such as the wrapper its decorator made: what the user gave it counts."""
        form = form_of(func.__code__)
        held = [
            framed(each, self._held_there(value, f"{name}: {each}"))
            for each, cell in cells_of(func)
            if each not in form.rebinds_free and (value := contents_of(cell)) is not EMPTY
        ]
        return framed(b"installed", name, *held, *self._wrapped(func, name))

    def _held_there(self, value: Any, name: str) -> bytes:
        if isinstance(value, tuple | list):
            return framed(*(self._held_there(each, name) for each in value))  # pyright: ignore[reportUnknownVariableType]
        if callable(value) or isinstance(value, str | bytes | int | float | None):
            return self.refer(value, name, whole=False)
        return framed(b"held")  # its own state

    def _class_around(self, func: FunctionType) -> bytes:
        """The class of a method: the method can get at all of it through ``self``."""
        outer, *inner = func.__code__.co_qualname.split(".")[:-1] or [""]
        found: Any = self.look_up(func.__globals__, outer) if outer else None
        for each in inner:
            found = vars(found).get(each) if isinstance(found, type) else None
        if isinstance(found, type) and func.__code__.co_name in vars(found):
            return self.cls(found)
        return framed(b"no class")

    def _read(self, namespace: Mapping[str, Any], chain: tuple[str, ...]) -> bytes:
        """Refer to what a name and the attributes after it lead to."""
        name, rest = chain[0], chain[1:]
        if name not in _MODULE_ATTRIBUTES and self.look_up(namespace, name) is ABSENT:
            return framed(b"builtin" if hasattr(builtins, name) else b"missing", name)
        while True:
            if name in _MODULE_ATTRIBUTES:
                return framed(b"about the module", name)
            value: Any = self.look_up(namespace, name)
            full = f"{module_name(namespace)}.{name}"
            if value is ABSENT:
                return self._served(namespace, full)
            if not is_module(value):
                break
            if not rest or not self.owns(vars(value)):
                self.reads_about(value.__name__, rest[:1])
                return self.refer(value, full, whole=True)
            member = vars(value).get(rest[0], ABSENT)
            if is_module(member) or (member is ABSENT and "__path__" in vars(value)):
                # A submodule is an attribute once it is imported, by whomever.
                found = module_named(self, member.__name__ if is_module(member) else f"{value.__name__}.{rest[0]}")
                if isinstance(found, bytes):
                    return found
            namespace, name, rest = vars(value), rest[0], rest[1:]
        token = self._global(namespace, name, value, full)
        if rest and isinstance(value, FunctionType) and rest[0] in vars(value):
            attribute, place = self.look_up(vars(value), rest[0]), f"{full}.{rest[0]}"
            return framed(token, self.refer(attribute, place, whole=is_constant_name(rest[0])))
        return token

    def look_up(self, namespace: Mapping[str, Any], name: str) -> Any:
        """What a name stands for, at the same time for the content and to be watched."""
        key = id(namespace), name
        if key not in self._seen:
            self._seen[key] = namespace, name, namespace.get(name, ABSENT)
        return self._seen[key][2]

    def _global(self, namespace: Mapping[str, Any], name: str, value: Any, full: str) -> bytes:
        if (
            class_of(value) in (FunctionType, MethodType)
            or issubclass(class_of(value), type)
            or wrapped_by(value) is not None
        ):
            return self.refer(value, full, whole=True)
        if name.startswith("__attr_") and is_of_attrs(class_of(value)):
            return framed(b"library")  # of a method that attrs has written: it counts with the fields

        def write(called: str) -> bytes:
            if (id(namespace), name) in self._rebound:
                return self.skip(called, "reached code assigns it (global), so it is state and not code")
            content = self.refer(value, called, whole=is_constant_name(name))
            if content == SKIPPED:
                self._seen.pop((id(namespace), name), None)  # it does not count, and no watch is to keep it alive
            return content

        return self.piece((id(namespace), name), namespace, full, write)

    def read(self, namespace: Mapping[str, Any], name: str) -> bytes:
        """Refer to what a module has under a name."""
        if name not in namespace and name not in _MODULE_ATTRIBUTES:
            self.look_up(namespace, name)
            return self._served(namespace, f"{module_name(namespace)}.{name}")
        return self._read(namespace, (name,))

    def _served(self, namespace: Mapping[str, Any], full: str) -> bytes:
        """What a module does not have, but may have a function for."""
        serve = self.look_up(namespace, "__getattr__")
        return framed(b"missing", full, b"" if serve is ABSENT else self.refer(serve, full, whole=True))

    def read_anything(self, module: ModuleType, form: Form, seen: frozenset[int] = frozenset()) -> Iterable[bytes]:
        """What code may read of a module in a variable: all with the name of an attribute that it reads of anything."""
        namespace = vars(module)
        if not self.owns(namespace):
            self.reads_about(module.__name__, form.attributes)
            return
        for name in sorted(form.attributes):
            value: Any = namespace.get(name, ABSENT)
            if is_module(value) or (value is ABSENT and "__path__" in namespace):
                found = module_named(self, value.__name__ if is_module(value) else f"{module.__name__}.{name}")
                if isinstance(found, bytes):
                    yield framed(name, found)
                elif found is not None and id(found) not in seen:
                    yield from self.read_anything(found, form, seen | {id(module)})
            if value is not ABSENT and not is_module(value):
                yield framed(name, self._read(namespace, (name,)))
            elif value is ABSENT and "__getattr__" in namespace:
                yield self._served(namespace, f"{module.__name__}.{name}")


def defaults_of(func: FunctionType) -> list[tuple[str, Any]]:
    """The defaults of a function by parameter, the positional ones first."""
    positional = func.__defaults__ or ()
    names = func.__code__.co_varnames[: func.__code__.co_argcount][-len(positional) :] if positional else ()
    return [*zip(names, positional, strict=False), *sorted((func.__kwdefaults__ or {}).items())]


def cells_of(func: FunctionType) -> list[tuple[str, CellType]]:
    """The variables of enclosing functions that a function uses."""
    return list(zip(func.__code__.co_freevars, func.__closure__ or (), strict=True))


def implementations_of(func: FunctionType) -> list[tuple[type, Any]]:
    """What `functools.singledispatch` calls for which class, in an order of no meaning; nothing for other functions."""
    registry: Any = vars(func).get("registry")
    if not isinstance(registry, MappingProxyType):
        return []
    found: list[tuple[type, Any]] = list(registry.items())  # pyright: ignore[reportUnknownArgumentType]
    return sorted(found, key=lambda item: f"{item[0].__module__}.{item[0].__qualname__}")
