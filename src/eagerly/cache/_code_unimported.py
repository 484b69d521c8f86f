"""`find_module`: a module that a function imports, found without importing anything, as importing runs code.

A module that has not been imported is its code: what Python would run, from the file or the cached bytecode. It stays
that after it has been imported, so that its version does not depend on who imports what first. But only as long as what
is in memory is what was read: the file is as it was, and nothing has been replaced in the module.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import pairwise
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from eagerly.cache._code_decode import decode
from eagerly.cache._code_form import form_of
from eagerly.cache._code_value import wrapped_by

__all__ = ["Unimported", "find_module"]

_SCALARS = (int, float, complex, bool, str, bytes, type(None))


class Unimported(NamedTuple):
    """A module as it was before it was imported."""

    name: str
    package: str
    file: str | None
    stamp: tuple[int, int] | None
    """When the file was changed last, and its size in bytes."""
    code: CodeType | None
    """None for a package without a file, and for an extension module."""


_read: dict[str, Unimported] = {}


def find_module(name: str, owns: Callable[[str, str | None], bool]) -> ModuleType | Unimported | None:
    """The module of that absolute name, or its code if it has not been imported; None if it is not the user's.

    Args:
        name: The name of the module.
        owns: Whether a module of a name in a file is the user's.

    Raises:
        Exception: What reading or compiling it raised.
    """
    known = _read.get(name)
    module = sys.modules.get(name)
    if module is not None:
        return known if known is not None and _is_still(known, module) else module
    if name in sys.modules or name.partition(".")[0] in sys.stdlib_module_names:
        return None
    spec = _find(name)
    if spec is None:
        return None
    places = spec.submodule_search_locations
    file = spec.origin if spec.has_location else None
    place = file if file is not None or places is None else next(iter(_listed(places)), None)
    if not owns(name, place if place is not None else spec.origin):
        return None
    stamp = _stamp(file)
    if known is None or (known.file, known.stamp) != (file, stamp):
        package = name if places is not None else name.rpartition(".")[0]
        known = _read[name] = Unimported(name, package, file, stamp, _code(name, spec, file))
    return known


def _find(name: str) -> ModuleSpec | None:
    """What the import system would load. `importlib.util.find_spec` would import the packages around it."""
    spec: ModuleSpec | None = None
    path: list[str] | None = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        module = sys.modules.get(full)
        if module is None:
            spec = next(filter(None, (_ask(finder, full, path) for finder in sys.meta_path)), None)
            places = None if spec is None else spec.submodule_search_locations
        else:
            places = vars(module).get("__path__")  # past any `__getattr__` of the module
        if places is None:
            return spec if count == len(parts) else None
        path = _listed(places)
    return spec


def _ask(finder: Any, name: str, path: list[str] | None) -> ModuleSpec | None:
    find_spec = getattr(finder, "find_spec", None)
    if find_spec is None:
        return None
    try:
        found: ModuleSpec | None = find_spec(name, path)
    except KeyError:  # a namespace package in one that has not been imported
        return _in_directories(name, path or ())
    return found


def _in_directories(name: str, path: Iterable[str]) -> ModuleSpec | None:
    places: list[str] = []
    for entry in path:
        finder = pkgutil.get_importer(entry)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        places.extend((spec and spec.submodule_search_locations) or ())
    found = ModuleSpec(name, None, is_package=True)
    found.submodule_search_locations = places
    return found if places else None


def _listed(places: Any) -> list[str]:
    # To be iterated over, a package in several directories wants the package around it to be imported.
    return list(getattr(places, "_path", places))


def _stamp(file: str | None) -> tuple[int, int] | None:
    try:
        status = None if file is None else os.stat(file)  # noqa: PTH116 - this needs no pathlib
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_size)


def _code(name: str, spec: ModuleSpec, file: str | None) -> CodeType | None:
    if file is not None and file.endswith(".py") and os.path.isfile(file):  # noqa: PTH113 - this needs no pathlib
        return SourceFileLoader(name, file).get_code(name)  # whatever hook would transform it
    get_code = getattr(spec.loader, "get_code", None)
    return None if get_code is None else get_code(name)


def _is_still(known: Unimported, module: ModuleType) -> bool:
    """Whether a module that was imported since is what was read before."""
    file = vars(module).get("__file__")
    if file != known.file or _stamp(known.file) != known.stamp:
        return False
    return known.code is None or _agrees(vars(module), known.code)


def _agrees(namespace: Mapping[str, Any], code: CodeType) -> bool:
    """Whether functions, classes and constants are those that the code of a module or class makes; if unsure, not."""
    made: dict[str, list[CodeType]] = {}
    for each in code.co_consts:
        if isinstance(each, CodeType) and each.co_name.isidentifier():
            made.setdefault(each.co_name, []).append(each)
    for name, codes in made.items():
        if name in namespace and not _is_one_of(namespace[name], codes):
            return False
    constants: dict[str, list[Any]] = {}
    assigned: set[str] = set()
    for before, after in pairwise(decode(code)):
        if after.name == "STORE_NAME":
            name = code.co_names[after.arg]
            value = code.co_consts[before.arg] if before.name == "LOAD_CONST" else ...
            if not isinstance(value, _SCALARS):
                assigned.add(name)
            constants.setdefault(name, []).append((type(value), value))
    return all(
        (type(namespace[name]), namespace[name]) in values
        for name, values in constants.items()
        if name in namespace and name not in assigned and not name.startswith("__")
    )


def _is_one_of(value: Any, codes: list[CodeType]) -> bool:
    for _ in range(100):
        if isinstance(value, property | functools.cached_property):
            value = value.fget if isinstance(value, property) else value.func
            continue
        wrapped = wrapped_by(value)
        if wrapped is None:
            break
        value = wrapped
    if isinstance(value, FunctionType):
        form = form_of(value.__code__)
        return any(form_of(each) == form for each in codes)
    return isinstance(value, type) and any(_agrees(vars(value), each) for each in codes)
