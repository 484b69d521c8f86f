"""What an import statement inside a function brings. No module is imported to find out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from eagerly.cache._code_form import Form, Import, form_of
from eagerly.cache._code_owner import is_module, module_name
from eagerly.cache._code_unimported import Unimported, find_module
from eagerly.cache._code_value import framed
from eagerly.cache._code_watch import ABSENT

if TYPE_CHECKING:
    from eagerly.cache._code_reach import Reach

__all__ = ["imported", "module_named"]


def imported(reach: Reach, namespace: Mapping[str, Any], statement: Import, form: Form) -> bytes:
    """Refer to what an import statement in code with these globals brings."""
    name = statement.module
    if statement.level:
        package = str(namespace.get("__package__") or module_name(namespace).rpartition(".")[0])
        name = ".".join((*package.split(".")[: 1 - statement.level or None], *filter(None, (name,))))
    *around, module = [module_named(reach, each) for each in _with_packages(name)]
    if module is None:
        reach.reads_about(name, (*statement.names, *form.attributes))
        return framed(b"installed", name)
    found = [each for each in around if isinstance(each, bytes)]
    if isinstance(module, bytes):
        found.append(module)
    if not statement.names:
        for each in (*around, module):
            if is_module(each):
                found.extend(reach.read_anything(each, form))
    found.extend(_member(reach, name, module, member, form) for member in _expanded(statement.names, module))
    return framed(*found)


def module_named(reach: Reach, name: str) -> ModuleType | bytes | None:
    """The module of an absolute name, or what refers to its code if it was not imported; None if not the user's."""
    title = f"module {name} (not imported)"
    reach.look_up(sys.modules, name)  # so that it is noticed when it is imported
    try:
        found = find_module(name, reach.owns_file)
    except Exception as error:
        return framed(b"unreadable", reach.skip(title, f"its code cannot be read: {type(error).__name__}"))
    if found is None or isinstance(found, ModuleType):
        return found if found is None or reach.owns(vars(found)) else None
    loaded = sys.modules.get(name)
    if loaded is not None and found.code is not None:
        for each in found.code.co_names:
            reach.look_up(vars(loaded), each)  # and when something in it is replaced
    return reach.piece(("module", name), found, title, partial(_module_content, reach, found), code=True)


def _module_content(reach: Reach, module: Unimported, called: str) -> bytes:
    if module.code is None:
        return framed(b"package" if module.file is None else reach.skip(called, "an extension module"))
    form = form_of(module.code)
    reach.reads_attributes(form.attributes)
    namespace = {"__name__": module.name, "__package__": module.package}
    return framed(
        form.body,
        *(framed(*chain) for chain in form.reads),
        *(reach.attempt(each.module, partial(imported, reach, namespace, each, form)) for each in form.imports),
    )


def _member(reach: Reach, name: str, module: ModuleType | bytes, member: str, form: Form) -> bytes:
    """What ``from module import member`` brings: what the module has under that name, or a module in the package."""
    value = vars(module).get(member, ABSENT) if is_module(module) else ABSENT
    if is_module(module) and value is not ABSENT and not is_module(value):
        return reach.read(vars(module), member)
    found = module_named(reach, value.__name__ if is_module(value) else f"{name}.{member}")
    if isinstance(found, ModuleType):
        return framed(b"module", *reach.read_anything(found, form))
    if found is None:
        return reach.read(vars(module), member) if is_module(module) else framed(member)
    return found


def _expanded(names: tuple[str, ...], module: ModuleType | bytes | None) -> Iterable[str]:
    if names != ("*",) or not is_module(module):
        return names
    public = vars(module).get("__all__")
    return sorted(public) if public is not None else sorted(each for each in vars(module) if not each.startswith("_"))


def _with_packages(name: str) -> Iterable[str]:
    """The names of the packages around a module, outermost first, and its own."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
