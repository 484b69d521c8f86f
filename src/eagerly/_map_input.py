"""What a map is given: the task and the iterables, checked before anything is taken from them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Iterable, Sized
from typing import Any, Final

from eagerly._share import unwrapped
from eagerly._task import Task
from eagerly._tasks import make_task
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["are_ready", "as_task", "total_of", "with_objects"]

READY: Final = frozenset((list, tuple, range, str, bytes))
"""Types of iterables that have all their items."""


def as_task(where: str, func: Any) -> Task[..., Any]:
    """`func` if it is a task, else the task made of it.

    Raises:
        OptionTypeError: It cannot be one.
    """
    if isinstance(func, Task):
        return func  # pyright: ignore[reportUnknownVariableType]  # of any parameters
    if not callable(func):
        raise OptionTypeError(
            f"{where}() takes the task first and its arguments after it, not {func!r}; write {where}(task, items)"
        )
    return make_task(func, {})


def with_objects(task: Task[..., Any]) -> Task[..., Any]:
    """`task` with the shared objects themselves in what is bound to it, for maps that stay in this process."""
    func = task.declaration.undecorated
    if not isinstance(func, functools.partial):
        return task
    args, keywords = unwrapped(func.args), unwrapped(func.keywords)
    if args is func.args and keywords is func.keywords:
        return task
    return make_task(functools.partial(func.func, *args, **keywords), task.declaration.options)


def are_ready(iterables: tuple[Iterable[Any], ...]) -> bool:
    """Whether all items are there already, so that taking them cannot take long."""
    return READY.issuperset(map(type, iterables))


def total_of(
    where: str,
    task: Task[..., Any],
    iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
    *,
    on_loop: bool = False,
) -> int | None:
    """How many items there are, or None if that is not known. On an event loop, async iterables will do.

    Raises:
        OptionTypeError: There are no iterables, or one is none.
        OptionValueError: Their lengths differ.
    """
    called = f"{where}({task.__name__}, ...)"
    if not iterables:
        raise OptionTypeError(
            f"{called} takes an iterable for each parameter, and there is none; write {where}(task, items)"
        )
    for number, each in enumerate(iterables):
        if isinstance(each, AsyncIterable) and not isinstance(each, Iterable):
            if on_loop:
                continue
            raise OptionTypeError(
                f"{called}: argument {number + 1} is an async iterable, {type(each).__name__}; collect it first, as in "
                "[item async for item in source], or use gather_tasks() and aiter_tasks(), which take one"
            )
        if not isinstance(each, Iterable) and not hasattr(type(each), "__getitem__"):
            raise OptionTypeError(
                f"{called}: argument {number + 1} is no iterable but {each!r}; write [{each!r}] for one item, or "
                f"itertools.repeat({each!r}) for a value that is the same for all items"
            )
    lengths = [len(each) for each in iterables if isinstance(each, Sized)]
    if len(set(lengths)) > 1:
        raise OptionValueError(
            f"{called}: the iterables have {', '.join(map(str, lengths))} items; give them the same length, and "
            "what is the same for all items as itertools.repeat(value)"
        )
    return lengths[0] if lengths else None
