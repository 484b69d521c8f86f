"""From ``MODULE:NAME`` to a workflow: splitting the words, importing the module, finding what was meant in it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, cast

from eagerly import Task, Workflow
from eagerly._options import nearest
from eagerly.cli._traceback import ModuleFailedError
from eagerly.errors import WorkflowNotFoundError

__all__ = ["find_task", "find_workflow", "load_module", "split_target", "workflows_in"]

_FILE: Final = re.compile(r"(.*?\.py)(?::(.*))?", re.DOTALL)
_OTHER: Final = re.compile(r"((?:[A-Za-z]:(?=[\\/]))?[^:]*)(?::(.*))?", re.DOTALL)  # perhaps with a Windows drive


def split_target(target: str) -> tuple[str, str]:
    """Module and name; the name is empty where none was given.

    Example:
        >>> split_target("flows.weather:report")
        ('flows.weather', 'report')
        >>> split_target("C:/flows/weather.py")
        ('C:/flows/weather.py', '')
    """
    match = _FILE.fullmatch(target) or _OTHER.fullmatch(target)
    assert match is not None, "the second expression matches every string"
    return match[1], match[2] or ""


def find_workflow(target: str) -> Workflow[..., Any]:
    """The workflow that `target` means.

    Raises:
        WorkflowNotFoundError: There is no such module, no such name in it, or something else has that name.
        ModuleFailedError: The module cannot be imported.
    """
    where, name = split_target(target)
    module = load_module(where)
    found = workflows_in(module)
    return _by_name(name, where, module, found) if name else _the_only_one(where, module, found)


def find_task(target: str) -> Task[..., Any]:
    """The task that `target` means, as in ``shop/orders.py:fetch`` or ``shop.orders:basket.total``.

    Raises:
        WorkflowNotFoundError: There is no such module, no such name in it, or something else has that name.
        ModuleFailedError: The module cannot be imported.
    """
    where, name = split_target(target)
    module = load_module(where)
    tasks = _tasks_in(module)
    if not name:
        if len(tasks) != 1:
            several = f"several tasks; say which, as in {where}:{tasks[0]}" if tasks else "no tasks"
            raise WorkflowNotFoundError(f"{where} has {several} ({_there_are(tasks)})")
        name = tasks[0]
    *path, part = name.split(".")
    owner: Any = module
    for each in path:
        owner = getattr(owner, each, None)
    found: Any = getattr(owner, part, None)
    if not isinstance(found, Task):
        what = f"there is no task {name!r} in {where}" if found is None else f"{name!r} of {where} is {_no_task(found)}"
        raise WorkflowNotFoundError(f"{what} ({_there_are(tasks)}){_did_you_mean(name, tasks)}")
    task = cast("Task[..., Any]", found)
    if isinstance(owner, type) and task is inspect.getattr_static(owner, part) and task.__get__(object()) is not task:
        raise WorkflowNotFoundError(
            f"{name!r} of {where} is a method, and no {owner.__name__} can be written on a command line; name one that "
            f"the module has, as in {where}:an_object.{part}, or do this in Python: an_object.{part}.explain(...)"
        )
    return task


def _tasks_in(module: ModuleType) -> list[str]:
    """The names of the tasks of `module`, also those in its classes."""
    found: list[str] = []
    waiting: list[tuple[str, dict[str, Any]]] = [("", vars(module))]
    while waiting:
        before, attributes = waiting.pop(0)
        for attribute, value in attributes.items():
            name = f"{before}{attribute}"
            if isinstance(getattr(value, "__func__", value), Task):
                found.append(name)
            elif isinstance(value, type) and (value.__module__, value.__qualname__) == (module.__name__, name):
                waiting.append((f"{name}.", cast("dict[str, Any]", vars(value))))
    return found


def _no_task(value: object) -> str:
    if isinstance(value, Workflow):
        return "a workflow, not a task"
    if isinstance(value, FunctionType):
        return "a plain function, not a task; write @task(cache=True) above it"
    return f"{'a class' if isinstance(value, type) else f'{value!r:.60}'}, not a task"


def workflows_in(module: ModuleType) -> dict[str, Workflow[..., Any]]:
    """The workflows that `module` defines or imports, by attribute, each once and in the order of the source."""
    found: dict[str, Workflow[..., Any]] = {}
    for attribute, value in vars(module).items():
        if isinstance(value, Workflow) and not any(value is other for other in found.values()):
            found[attribute] = value
    return found


def load_module(where: str) -> ModuleType:
    """Import a module by dotted name or by the path of its file.

    Raises:
        WorkflowNotFoundError: There is no such module.
        ModuleFailedError: It raised something.
    """
    _make_importable(Path.cwd())
    try:
        return _from_file(Path(where)) if _is_path(where) else _by_dotted_name(where)
    except (WorkflowNotFoundError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ModuleFailedError(error) from error


def _is_path(where: str) -> bool:
    return where.endswith(".py") or "/" in where or "\\" in where


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _by_dotted_name(name: str) -> ModuleType:
    if not all(name.split(".")):
        raise WorkflowNotFoundError(f"{name!r} is no name of a module; write MODULE:NAME, as in flows.weather:report")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another one
        here = [path.stem for path in Path.cwd().glob("*.py")]
        raise WorkflowNotFoundError(
            f"there is no module {error.name!r}, neither installed nor in {Path.cwd()}{_did_you_mean(name, here)}"
        ) from None


def _from_file(path: Path) -> ModuleType:
    """Import `path` under the name it has for other modules, so that its objects can be pickled by that name."""
    if not path.is_file():
        guess = path.with_name(f"{path.name}.py")
        names = [guess.name] if guess.is_file() else [other.name for other in path.parent.glob("*.py")]
        raise WorkflowNotFoundError(f"there is no file {str(path.absolute())!r}{_did_you_mean(path.name, names)}")
    path = path.resolve()
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if path.name == "__init__.py":
        parts.pop()
    _make_importable(root)
    name = ".".join(parts)
    if path.stem.isidentifier():
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and _same_file(spec.origin, path):
            return importlib.import_module(name)
    return _under_another_name(path)


def _under_another_name(path: Path) -> ModuleType:
    """Import a file whose own name is no identifier, or belongs to another module."""
    name = re.sub(r"\W", "_", f"{path.stem}_py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkflowNotFoundError(f"{str(path)!r} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _same_file(one: str, other: Path) -> bool:
    return Path(one).exists() and other.samefile(one)


def _by_name(name: str, where: str, module: ModuleType, found: dict[str, Workflow[..., Any]]) -> Workflow[..., Any]:
    named = [workflow for workflow in found.values() if workflow.name == name]
    if len(named) == 1:
        return named[0]
    value = getattr(module, name, None)
    if isinstance(value, Workflow):
        return cast("Workflow[..., Any]", value)
    if named:
        attributes = ", ".join(attribute for attribute, workflow in found.items() if workflow.name == name)
        raise WorkflowNotFoundError(
            f"{len(named)} workflows of {where} are called {name!r}; say which by its attribute: {attributes}"
        )
    if value is not None:
        raise WorkflowNotFoundError(f"{name!r} of {where} is {_kind_of_thing(value)}{_how_to_mend(name, value)}")
    names = [workflow.name for workflow in found.values()]
    raise WorkflowNotFoundError(
        f"there is no workflow {name!r} in {where} ({_there_are(names)}){_did_you_mean(name, [*names, *found])}"
    )


def _the_only_one(where: str, module: ModuleType, found: dict[str, Workflow[..., Any]]) -> Workflow[..., Any]:
    own = [workflow for workflow in found.values() if workflow.__module__ == module.__name__]
    choice = own or list(found.values())
    if len(choice) == 1:
        return choice[0]
    names = [workflow.name for workflow in choice]
    if not names:
        raise WorkflowNotFoundError(f"{where} has no workflows; mark a function with @workflow")
    raise WorkflowNotFoundError(
        f"{where} has several workflows ({_there_are(names)}); say which, as in {where}:{names[0]}"
    )


def _there_are(names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else "there are none"


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    near = nearest(name, names)
    return f"; did you mean {near!r}?" if near else ""


def _kind_of_thing(value: object) -> str:
    if isinstance(value, Task):
        return "a task, not a workflow"
    if isinstance(value, type):
        return "a class, not a workflow"
    if isinstance(value, FunctionType):
        return "a plain function, not a workflow"
    return f"not a workflow but {value!r:.60}"


def _how_to_mend(name: str, value: object) -> str:
    if isinstance(value, Task):
        return f"; call it from a function that is marked with @workflow, or write `{name}_flow = workflow({name})`"
    if isinstance(value, FunctionType):
        return f"; mark it: write @workflow above `def {name}`"
    return ""
