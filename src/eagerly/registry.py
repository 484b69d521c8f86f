"""What can be run, by name: every task whose module has been imported, and commands that were registered.

Nothing here waits for anything, so that there are no twins for ``await``.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, overload

from eagerly._command import Command
from eagerly._command_task import CommandTask, command_task
from eagerly._declaration import only_given
from eagerly._definitions import PART_OF_ID, Definition, definition_of, definitions, keep
from eagerly._retry import Retry
from eagerly._sentinel import UNSET, UnsetType
from eagerly._task import Task
from eagerly._tasks import make_task
from eagerly._warnings import user_frame
from eagerly.errors import OptionTypeError, OptionValueError
from eagerly.runs._limits import text, word

__all__ = ["Command", "CommandTask", "Definition", "get", "list", "register"]

_T = TypeVar("_T", bound=Task[..., Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")


def list(*, kind: str | None = None) -> builtins.list[Definition]:
    """The definitions that there are, by their qualified names.

    A task is there as long as somebody has it; of several that one place had, as of a module that was reloaded, the
    last one. What `Task.options` gives is the same definition.

    Args:
        kind: Only of this kind: ``"sync"``, ``"async"``, ``"stream"``, ``"async stream"`` or ``"command"``.

    Example:
        >>> from eagerly import registry, task
        >>> @task
        ... def fetch_weather(city): ...
        >>> [each.kind for each in registry.list() if each.name == "fetch_weather"]
        ['sync']
    """
    if kind is not None and kind not in _KINDS:
        raise OptionValueError(f"list(kind=...) takes one of {', '.join(map(repr, _KINDS))}, not {kind!r}")
    return [each for each in definitions() if kind is None or each.kind == kind]


_KINDS = ("sync", "async", "stream", "async stream", "command")


def get(task: str | Task[..., Any] | Definition, /) -> Definition:
    """The definition of this name or id.

    Args:
        task: A name as in records, ``"fetch"``; a qualified one, ``"shop.orders.fetch"``; an id, ``"task_..."``, or
            its beginning; or a task.

    Raises:
        TaskNotFound: There is none. A task is known once its module has been imported.
        AmbiguousName: There are several; the message lists them, and what to write. A task inside of a function gives
            way to one that can be imported.
    """
    return definition_of("get(task)", task)


@overload
def register(
    name: str,
    what: Command,
    /,
    *,
    version: str | None = None,
    description: str | UnsetType | None = UNSET,
    retries: int | Retry | UnsetType = UNSET,
    timeout: float | timedelta | UnsetType | None = UNSET,
    tags: Iterable[str] | UnsetType = UNSET,
) -> CommandTask: ...
@overload
def register(name: str, what: _T, /, *, version: str | None = None) -> _T: ...
@overload
def register(name: str, what: Callable[_P, _R], /, *, version: str | None = None) -> Task[_P, _R]: ...
def register(
    name: str,
    what: Any,
    /,
    *,
    version: str | None = None,
    description: str | UnsetType | None = UNSET,
    retries: int | Retry | UnsetType = UNSET,
    timeout: float | timedelta | UnsetType | None = UNSET,
    tags: Iterable[str] | UnsetType = UNSET,
) -> Any:
    """Make something known under a name, and get the task that it is then.

    Tasks are known without it. It is for commands, and for a task that is to be known under another name. Registering
    a name again in the same module replaces what it was.

    Args:
        name: As it is called in records of runs.
        what: A `Command`, a task or a function.
        version: Its version, which goes into the records of its runs.
        description: For people. This and the following are for commands, and as in `task`.
        retries: How many attempts may follow a failed one, or a `Retry`.
        timeout: Seconds that one attempt may take; then the command is killed.
        tags: Labels for hooks and records, of 500 characters at most.

    Returns:
        For a command, a `CommandTask`; for a task, a copy that has the name.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.
    """
    if not isinstance(name, str):
        raise OptionTypeError(f"register(name) takes a string, not {name!r}; write registry.register('name', ...)")
    if PART_OF_ID.fullmatch(word("register(name)", name)):
        raise OptionValueError(f"register({name!r}) looks like the id of a task; write another name")
    if version is not None:
        version = text("register(version=...)", version, empty=False)
    options = only_given(description=description, retries=retries, timeout=timeout, tags=tags)
    made: Task[..., Any]
    frame, _ = user_frame()
    module = "__main__" if frame is None else frame.f_globals.get("__name__", "__main__")
    if isinstance(what, Command):
        made = command_task(name, what, module, options)
    elif options:
        raise OptionTypeError(
            f"register({next(iter(options))}=...) is for commands; write it into @task(...), or what.options(...)"
        )
    elif isinstance(what, Task):
        made = what.options(name=name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of anything
    else:
        made = make_task(what, {"name": name})
    keep(made, f"{module}.{name}", version)
    return made
