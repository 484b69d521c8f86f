"""`Reach`: everything of the user's that a function can get to, and a digest of each piece.

A piece is a function, a class or a global value. Its content names the pieces it refers to instead of containing them,
so that recursion needs no care, and an edit changes the digest of the piece that was edited and of no other. Nothing
here calls the user's functions or changes anything; modules that a function imports in its body are imported.
"""

from __future__ import annotations

import builtins
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import sha256
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from eagerly.cache._code_class import class_content
from eagerly.cache._code_form import Form, Import, form_of
from eagerly.cache._code_owner import class_is_own, class_of, import_own, is_module, module_name, namespace_is_own
from eagerly.cache._code_value import framed, is_constant_name, value_content, wrapped_by

__all__ = ["Reach", "cells_of", "defaults_of", "implementations_of"]

_MODULE_ATTRIBUTES = frozenset(
    (
        *("__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__path__", "__cached__"),
        *("__builtins__", "__annotations__", "__dict__", "__debug__"),
    )
)
"""Globals that Python sets, which say where a module is rather than what it does."""

_MISSING = object()


class Reach:
    """A walk over what is reached. `run` ends it; then `parts` and `skipped` are complete."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        """SHA-256 of the content of each piece, by what people call it."""
        self.skipped: dict[str, str] = {}
        self.inside: list[int] = []
        """The identities of the containers and instances that are being written down at this moment."""
        self._names: dict[Any, str] = {}
        self._taken: set[str] = set()
        self._kept: list[Any] = []  # as identities are only good for objects that live
        self._code: deque[tuple[str, Callable[[str], bytes]]] = deque()
        # Values come last: only then it is known which of them the reached code assigns itself.
        self._values: deque[tuple[str, Callable[[str], bytes]]] = deque()
        self._rebound: set[tuple[int, str]] = set()

    def run(self) -> None:
        """Write down every piece that has been referred to, and those they refer to."""
        while queue := self._code or self._values:
            name, write = queue.popleft()
            self.parts[name] = sha256(self.attempt(name, partial(write, name))).digest()

    def attempt(self, name: str, look: Callable[[], bytes]) -> bytes:
        """Look at something of the user's, whose attributes may do and raise anything."""
        try:
            return look()
        except Exception as error:
            return self.skip(name, f"looking at it failed with {type(error).__name__}")

    def skip(self, name: str, reason: str) -> bytes:
        """Leave something out, and say so."""
        self.skipped[name] = reason
        return b"skipped"

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
        if namespace_is_own(func.__globals__):
            return self.piece(id(func), func, full, lambda called: self._own_function(func, called), code=True)
        if func.__closure__ is None and not vars(func):
            return framed(b"installed", full)
        return self.piece(id(func), func, full, lambda _: self._installed_function(func, full), code=True)

    def cls(self, cls: type) -> bytes:
        """Refer to a class; to one that was installed by its name."""
        full = f"{cls.__module__}.{cls.__qualname__}"
        if not class_is_own(cls):
            return framed(b"installed", full)
        return self.piece(id(cls), cls, full, lambda called: class_content(self, cls, called), code=True)

    def code_content(self, func: FunctionType) -> bytes:
        """The code of a function, what it reads of its module, and its class."""
        form, namespace = form_of(func.__code__), func.__globals__
        self._rebound.update((id(namespace), each) for each in form.rebinds)
        return framed(
            form.body,
            *(self.attempt(".".join(chain), partial(self._read, namespace, chain)) for chain in form.reads),
            *(self.attempt(each.module, partial(self._imported, namespace, each, form)) for each in form.imports),
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
            return self.skip(place, "reached code assigns it (nonlocal), so it is state and not code")
        try:
            value = cell.cell_contents
        except ValueError:
            return framed(b"empty")
        if is_module(value):
            return framed(self.refer(value, place, whole=True), *self._read_anything(value, form))
        return self.refer(value, place, whole=True)

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
            framed(each, self._held(cell.cell_contents, f"{name}: {each}"))
            for each, cell in cells_of(func)
            if each not in form.rebinds_free and _is_filled(cell)
        ]
        return framed(b"installed", name, *held, *self._wrapped(func, name))

    def _held(self, value: Any, name: str) -> bytes:
        if isinstance(value, tuple | list):
            return framed(*(self._held(each, name) for each in value))  # pyright: ignore[reportUnknownVariableType]
        if callable(value) or isinstance(value, str | bytes | int | float | None):
            return self.refer(value, name, whole=False)
        return framed(b"held")  # its own state

    def _class_around(self, func: FunctionType) -> bytes:
        """The class of a method: the method can get at all of it through ``self``."""
        outer, *inner = func.__code__.co_qualname.split(".")[:-1] or [""]
        found: Any = func.__globals__.get(outer)
        for each in inner:
            found = vars(found).get(each) if isinstance(found, type) else None
        if isinstance(found, type) and func.__code__.co_name in vars(found):
            return self.cls(found)
        return framed(b"no class")

    def _read(self, namespace: Mapping[str, Any], chain: tuple[str, ...]) -> bytes:
        """Refer to what a name and the attributes after it lead to."""
        name, rest = chain[0], chain[1:]
        if name not in namespace and name not in _MODULE_ATTRIBUTES:
            return framed(b"builtin" if hasattr(builtins, name) else b"missing", name)
        while True:
            if name in _MODULE_ATTRIBUTES:
                return framed(b"about the module", name)
            value: Any = namespace.get(name, _MISSING)
            full = f"{module_name(namespace)}.{name}"
            if value is _MISSING:
                return framed(b"missing", full)
            if not is_module(value):
                break
            if not rest or not namespace_is_own(vars(value)):
                return self.refer(value, full, whole=True)
            # A submodule is an attribute once it is imported, by whomever.
            if rest[0] not in vars(value) and "__path__" in vars(value):
                self._try_import(f"{value.__name__}.{rest[0]}")
            namespace, name, rest = vars(value), rest[0], rest[1:]
        token = self._global(namespace, name, value, full)
        if rest and isinstance(value, FunctionType) and rest[0] in vars(value):
            attribute, place = vars(value)[rest[0]], f"{full}.{rest[0]}"
            return framed(token, self.refer(attribute, place, whole=is_constant_name(rest[0])))
        return token

    def _global(self, namespace: Mapping[str, Any], name: str, value: Any, full: str) -> bytes:
        if (
            class_of(value) in (FunctionType, MethodType)
            or issubclass(class_of(value), type)
            or wrapped_by(value) is not None
        ):
            return self.refer(value, full, whole=True)

        def write(called: str) -> bytes:
            if (id(namespace), name) in self._rebound:
                return self.skip(called, "reached code assigns it (global), so it is state and not code")
            return self.refer(value, called, whole=is_constant_name(name))

        return self.piece((id(namespace), name), namespace, full, write)

    def _read_anything(self, module: ModuleType, form: Form, seen: frozenset[int] = frozenset()) -> Iterable[bytes]:
        """What code may read of a module in a variable: all with the name of an attribute that it reads of anything."""
        namespace = vars(module)
        if not namespace_is_own(namespace):
            return
        for name in sorted(form.attributes & namespace.keys()):
            value = namespace[name]
            if not is_module(value):
                yield framed(name, self._read(namespace, (name,)))
            elif id(value) not in seen:
                yield from self._read_anything(value, form, seen | {id(module)})

    def _imported(self, namespace: Mapping[str, Any], statement: Import, form: Form) -> bytes:
        """Refer to what an import statement inside a function brings; a module of the user's is imported for that."""
        name = statement.module
        if statement.level:
            package = str(namespace.get("__package__") or module_name(namespace).rpartition(".")[0])
            name = ".".join((*package.split(".")[: 1 - statement.level or None], *filter(None, (name,))))
        module = self._try_import(name)
        if module is None:
            return framed(b"installed", name)
        if not statement.names:
            return framed(*(item for each in _with_packages(name) for item in self._read_anything(each, form)))
        found: list[bytes] = []
        for each in statement.names:
            value = vars(module).get(each, _MISSING)
            if value is _MISSING:
                value = self._try_import(f"{name}.{each}")
            if is_module(value):
                found.append(framed(b"module", *self._read_anything(value, form)))
            else:
                found.append(self._read(vars(module), (each,)))
        return framed(*found)

    def _try_import(self, name: str) -> ModuleType | None:
        try:
            return import_own(name)
        except (Exception, SystemExit) as error:
            self.skip(name, f"importing it failed with {type(error).__name__}")
            return None


def _with_packages(name: str) -> Iterable[ModuleType]:
    """The module of that name, and the packages around it, outermost first."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        module = sys.modules.get(".".join(parts[:count]))
        if module is not None:
            yield module


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


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises if there is nothing
    except ValueError:
        return False
    return True
