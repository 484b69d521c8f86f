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
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeGuard

__all__ = ["class_is_own", "class_of", "import_own", "is_module", "module_name", "namespace_is_own"]

_STANDARD_LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120 - this needs no pathlib
_SITES = frozenset(("site-packages", "dist-packages"))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by a newer extension module


def module_name(namespace: Mapping[str, Any]) -> str:
    """The name of the module with these globals; of nameless ones, that of a script."""
    name = namespace.get("__name__")
    return name if isinstance(name, str) else "__main__"


def namespace_is_own(namespace: Mapping[str, Any]) -> bool:
    """Whether code with these globals is the user's."""
    spec, file = namespace.get("__spec__"), namespace.get("__file__")
    origin = spec.origin if isinstance(spec, ModuleSpec) else None
    return _is_own(module_name(namespace), file if isinstance(file, str) else origin)


def class_of(value: Any) -> type[Any]:
    """The real class: mocks and proxies say in ``__class__`` that they are something else."""
    return type(value)  # pyright: ignore[reportUnknownVariableType]  # of Any


def is_module(value: Any) -> TypeGuard[ModuleType]:
    """Whether `value` really is a module."""
    return issubclass(class_of(value), ModuleType)


def class_is_own(cls: type) -> bool:
    """Whether the user wrote `cls`."""
    if not cls.__flags__ & _HEAP_TYPE:
        return False
    name: Any = cls.__module__  # which a class may set to anything
    module = sys.modules.get(name) if isinstance(name, str) else None
    return _is_own(str(name), None) if module is None else namespace_is_own(vars(module))


@functools.lru_cache(maxsize=4096)
def _is_own(name: str, file: str | None) -> bool:
    if name == "__main__":
        return True
    package = name.partition(".")[0]
    if package in ("eagerly", "builtins"):
        return False
    if file in (None, "built-in", "frozen"):  # a module that a notebook or test made is not in these lists
        return package not in sys.builtin_module_names and package not in sys.stdlib_module_names
    assert file is not None
    if not _SITES.isdisjoint(file.replace("\\", "/").split("/")):
        return False
    return not file.startswith(_STANDARD_LIBRARY + os.sep)


def import_own(name: str) -> ModuleType | None:
    """The user's module of that absolute name, imported if it has not been yet; None if it is not the user's.

    Raises:
        Exception: What importing it raised.
    """
    module = sys.modules.get(name)
    if module is not None:
        return module if namespace_is_own(vars(module)) else None
    package = name.partition(".")[0]
    top = sys.modules.get(package)
    if top is not None:
        own = namespace_is_own(vars(top))
    elif package in sys.stdlib_module_names:
        return None
    else:
        spec = find_spec(package)
        own = spec is not None and _is_own(package, spec.origin)
    if not own:
        return None
    __import__(name)
    return sys.modules.get(name)
