"""Whose code is it? The user's own is followed and versioned; what was installed is known by its name.

Own is everything that does not come with Python, is not installed into a site directory, and is not this library: a
checkout, also one installed in editable mode; scripts; cells of notebooks and whatever else has no file. No file is
looked at.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeGuard

from eagerly._program import file_of

__all__ = [
    "can_be_typed_anew",
    "class_is_own",
    "class_of",
    "is_at_its_name",
    "is_module",
    "is_own",
    "module_name",
    "namespace_is_own",
    "package_of",
    "place_of",
    "place_of_class",
]

_STANDARD_LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120 - this needs no pathlib
_NEVER_OWN = ("eagerly", "builtins")
_SITES = frozenset(("site-packages", "dist-packages"))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by a newer extension module


def module_name(namespace: Mapping[str, Any]) -> str:
    """The name of the module with these globals; of nameless ones, that of a script."""
    name = namespace.get("__name__")
    return name if isinstance(name, str) else "__main__"


def namespace_is_own(namespace: Mapping[str, Any]) -> bool:
    """Whether code with these globals is the user's."""
    return is_own(*place_of(namespace))


def place_of(namespace: Mapping[str, Any]) -> tuple[str, str | None]:
    """The name and file of the module with these globals."""
    spec, file = namespace.get("__spec__"), namespace.get("__file__")
    origin = spec.origin if isinstance(spec, ModuleSpec) else None
    return module_name(namespace), file if isinstance(file, str) else origin


def package_of(namespace: Mapping[str, Any]) -> str | None:
    """The outermost package of the module with these globals, if a task in it makes that the user's."""
    name = module_name(namespace)
    if name == "__main__":
        name = str(namespace.get("__package__") or "")
    package = name.partition(".")[0]
    return None if package in ("", *_NEVER_OWN) or package in sys.stdlib_module_names else package


def can_be_typed_anew(namespace: Mapping[str, Any] | None) -> bool:
    """Whether what is in a module may be replaced and changed at any moment, as by the next cell of a notebook."""
    return namespace is not None and (hasattr(sys, "ps1") or file_of(namespace) is None)


def class_of(value: Any) -> type[Any]:
    """The real class: mocks and proxies say in ``__class__`` that they are something else."""
    return type(value)  # pyright: ignore[reportUnknownVariableType]  # of Any


def is_module(value: Any) -> TypeGuard[ModuleType]:
    """Whether `value` really is a module."""
    return issubclass(class_of(value), ModuleType)


def class_is_own(cls: type) -> bool:
    """Whether the user wrote `cls`."""
    place = place_of_class(cls)
    return place is not None and is_own(*place)


def place_of_class(cls: type) -> tuple[str, str | None] | None:
    """The name and file of the module of `cls`; None for one that is written in C."""
    if not cls.__flags__ & _HEAP_TYPE:
        return None
    name: Any = cls.__module__  # which a class may set to anything
    module = sys.modules.get(name) if isinstance(name, str) else None
    return (str(name), None) if module is None else place_of(vars(module))


def is_at_its_name(cls: type) -> bool:
    """Whether its module has `cls` under its name, as it has not what is replaced or was made in a function."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = vars(found).get(name) if is_module(found) or isinstance(found, type) else None
    return found is cls


@functools.lru_cache(maxsize=4096)
def is_own(name: str, file: str | None) -> bool:
    """Whether a module of that name and file is the user's."""
    if name == "__main__":
        return True
    package = name.partition(".")[0]
    if package in _NEVER_OWN:
        return False
    if file in (None, "built-in", "frozen"):  # a module that a notebook or test made is not in these lists
        return package not in sys.builtin_module_names and package not in sys.stdlib_module_names
    assert file is not None
    if not _SITES.isdisjoint(file.replace("\\", "/").split("/")):
        return False
    return not file.startswith(_STANDARD_LIBRARY + os.sep)
