"""What this process knows to run: every task that was decorated, by reference only, and what was registered.

A decoration adds a weak reference and nothing else; names and ids are made by who looks one up.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from eagerly._options import nearest
from eagerly.errors import AmbiguousName, OptionTypeError, OptionValueError, TaskNotFound

if TYPE_CHECKING:
    from eagerly._command import Command
    from eagerly._task import Task

__all__ = ["Definition", "definition_of", "definitions", "keep", "know", "name_in_records", "task_meant"]

ID: Final = re.compile(r"task_[0-9a-f]{24}")
PART_OF_ID: Final = re.compile(r"task_[0-9a-f]{4,24}")
LOCAL: Final = "<locals>"


class Definition:
    """What can be run under a name. Get one from `eagerly.registry`.

    Attributes:
        task: The task: call it, or submit it.
    """

    __slots__ = ("task",)

    def __init__(self, task: Task[..., Any]) -> None:
        self.task = task

    @property
    def id(self) -> str:
        """``task_`` and 24 hexadecimal digits. The same in every process that has this definition."""
        import hashlib

        digest = hashlib.sha256(f"{self.qualified_name}\n{self.name}".encode(errors="backslashreplace"))
        return f"task_{digest.hexdigest()[:24]}"

    @property
    def name(self) -> str:
        """As it is called in records of runs."""
        return self.task.name

    @property
    def qualified_name(self) -> str:
        """Where it is from: the module, and the name there, or that under which it was registered there."""
        return _place_of(self.task)

    @property
    def version(self) -> str | None:
        """The version that was given, for a task with `cache_version=` that one; else None."""
        return self.task.declaration.version

    @property
    def kind(self) -> str:
        """``"sync"``, ``"async"``, ``"stream"``, ``"async stream"`` or ``"command"``."""
        return "command" if self.command is not None else self.task.declaration.kind.value

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function; None for a command."""
        return None if self.command is not None else self.task.func

    @property
    def command(self) -> Command | None:
        """The command; None for a function."""
        return getattr(self.task, "command", None)

    @property
    def description(self) -> str:
        """For people."""
        return self.task.description

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Definition) and self.task == other.task

    def __hash__(self) -> int:
        return hash(self.task)

    def __repr__(self) -> str:
        return f"<definition {self.qualified_name!r}, {self.kind}>"


_known: Final[weakref.WeakValueDictionary[int, Task[..., Any]]] = weakref.WeakValueDictionary()
_kept: Final[dict[str, Task[..., Any]]] = {}
_registered: Final[weakref.WeakKeyDictionary[Task[..., Any], str]] = weakref.WeakKeyDictionary()
"""Their places."""


def know(task: Task[..., Any]) -> None:
    """A task was decorated. It is known for as long as somebody has it."""
    _known[id(task)] = task


def keep(task: Task[..., Any], place: str, version: str | None) -> None:
    """A task was registered. It is known until another one is registered at the same place."""
    _kept[place] = task
    _registered[task] = place
    if version is not None:
        task.declaration.version = version


def _place_of(task: Task[..., Any]) -> str:
    return _registered.get(task, task.declaration.qualified_name)


def definitions() -> list[Definition]:
    """Those that there are. Of several of one place and name, as of a module that was reloaded, the last one."""
    return _last_of_each(_tasks())


def _last_of_each(tasks: Iterable[Task[..., Any]]) -> list[Definition]:
    found = {(_place_of(each), each.name): each for each in tasks}
    return [Definition(found[key]) for key in sorted(found)]


def _tasks() -> Iterator[Task[..., Any]]:
    for reference in _known.valuerefs():  # a list, whatever is decorated meanwhile
        task = reference()
        if task is not None:
            yield task
    yield from list(_kept.values())


def definition_of(what: str, wanted: object) -> Definition:
    """The definition that is meant by a name, a qualified name, an id, the beginning of one, or a task.

    Raises:
        TaskNotFound: There is none.
        AmbiguousName: There are several.
    """
    found = _meant(what, wanted)
    if found is not None:
        return found
    near = nearest(str(wanted), [each.name for each in definitions()])
    hint = f"did you mean {near!r}?" if near else "a task is known once its module has been imported"
    raise TaskNotFound(f"{what}: there is no task {wanted!r} in this process; {hint}")


def task_meant(what: str, wanted: object) -> tuple[str, str | None]:
    """The name in records that is meant, and the version; any other string is a name that nothing here has.

    Raises:
        TaskNotFound: It is an id that nothing here has.
        AmbiguousName: Several have the name.
        OptionTypeError: It cannot be either.
    """
    found = _meant(what, wanted)
    if found is not None:
        return found.name, found.version
    assert isinstance(wanted, str)
    if ID.fullmatch(wanted):
        raise TaskNotFound(f"{what}: there is no task with the id {wanted} in this process; write its name")
    return wanted, None


def name_in_records(what: str, wanted: object) -> str | None:
    """The name by which runs are found; any other string is one. Several tasks may have it.

    Raises:
        TaskNotFound: It is an id that nothing here has.
        AmbiguousName: The ids of several begin with it, and none has it as its name.
        OptionTypeError: It cannot be a name, and has none.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        named: Any = getattr(wanted, "name", None)
        if isinstance(named, str) and callable(getattr(wanted, "task", wanted)):  # a task, a workflow, a definition
            return named
        raise OptionTypeError(
            f"{what} takes a string, not {wanted!r}; write the name or id of a task, or the task itself"
        )
    if PART_OF_ID.fullmatch(wanted) and all(each.name != wanted for each in _tasks()):
        meant = definition_of(what, wanted) if ID.fullmatch(wanted) else _meant(what, wanted)
        return wanted if meant is None else meant.name
    return next((each.name for each in _tasks() if _place_of(each) == wanted), wanted)


def _meant(what: str, wanted: object) -> Definition | None:
    if isinstance(wanted, Definition):
        return wanted
    if hasattr(wanted, "declaration"):
        return Definition(wanted)  # type: ignore[arg-type]  # a task
    if not isinstance(wanted, str):
        raise OptionTypeError(
            f"{what} takes a string, not {wanted!r}; write the name or id of a task, or the task itself"
        )
    if not wanted.strip():
        raise OptionValueError(f"{what} must not be empty")
    found = _last_of_each(each for each in _tasks() if wanted in (each.name, _place_of(each)))
    if PART_OF_ID.fullmatch(wanted):
        found += [each for each in definitions() if each.id.startswith(wanted) and each not in found]
    if ID.fullmatch(wanted):
        found = [each for each in found if each.id == wanted] or found
    # What stands in a function is nobody else's, and gives way to what can be imported.
    found = [each for each in found if LOCAL not in each.qualified_name] or found
    if len(found) > 1:
        shown = ", ".join(f"{each.qualified_name!r} ({each.id})" for each in found[:4])
        more = ", ..." if len(found) > 4 else ""
        raise AmbiguousName(
            f"{what}: several tasks are meant by {wanted!r}: {shown}{more}; write the name with its module, or the id"
        )
    return found[0] if found else None
