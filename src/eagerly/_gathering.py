"""`gather_tasks` and `aiter_tasks`: one async task over many arguments, on the event loop that runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypedDict, TypeVar, Unpack, overload

from eagerly._async_fanout import AsyncFanout
from eagerly._map_input import as_task, total_of
from eagerly._map_options import map_options, positive
from eagerly._map_progress import progress_label, showing
from eagerly.errors import OptionTypeError

if TYPE_CHECKING:
    from eagerly._map_options import Errors, MapOptions
    from eagerly._map_progress import MapProgress
    from eagerly._task import Task

__all__ = ["aiter_tasks", "gather_tasks"]

R = TypeVar("R")
Items = Iterable[Any] | AsyncIterable[Any]

LIMIT: Final = 100
"""Items that run at a time where nothing is said: many for a network, and few enough for most servers."""


class GatherOptions(TypedDict, total=False):
    """What both take besides ``errors``."""

    limit: int | None
    progress: bool | str | None


class AiterOptions(GatherOptions, total=False):
    """What `aiter_tasks` takes besides ``errors``."""

    ordered: bool
    window: int | None


Kept = Literal["raise", "skip"]
Returned = Literal["return"]


@overload
async def gather_tasks(
    task: Callable[..., AsyncIterator[R]], /, *iterables: Items, errors: Kept = ..., **options: Unpack[GatherOptions]
) -> list[list[R]]: ...
@overload
async def gather_tasks(
    task: Callable[..., AsyncIterator[R]], /, *iterables: Items, errors: Returned, **options: Unpack[GatherOptions]
) -> list[list[R] | BaseException]: ...
@overload
async def gather_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Items,
    errors: Kept = ...,
    **options: Unpack[GatherOptions],
) -> list[R]: ...
@overload
async def gather_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Items,
    errors: Returned,
    **options: Unpack[GatherOptions],
) -> list[R | BaseException]: ...
@overload
async def gather_tasks(
    task: Callable[..., AsyncIterator[Any] | Coroutine[Any, Any, Any]],
    /,
    *iterables: Items,
    errors: Errors,
    **options: Unpack[GatherOptions],
) -> list[Any]: ...


async def gather_tasks(
    task: Callable[..., Any],
    /,
    *iterables: Items,
    limit: int | None = LIMIT,
    errors: Errors = "raise",
    progress: bool | str | None = None,
) -> list[Any]:
    """Call an async task for each item, a number of them at a time on the running loop; the list of the results.

    Results are in the order of the items. Args and errors: as in `aiter_tasks`, which gives them as they arrive.

    Example:
        >>> import asyncio
        >>> from eagerly import gather_tasks, task
        >>> @task
        ... async def double(x: int) -> int:
        ...     return 2 * x
        >>> asyncio.run(gather_tasks(double, [1, 2, 3]))
        [2, 4, 6]
    """
    plan = _plan("gather_tasks", task, iterables, limit, True, errors, None, progress)
    results: list[Any] = []
    with showing(plan.label, plan.total) as shown:
        async with plan.fan(shown) as fan:
            while await fan.more():
                results += fan.results()
    return results


@overload
def aiter_tasks(
    task: Callable[..., AsyncIterator[R]], /, *iterables: Items, errors: Kept = ..., **options: Unpack[AiterOptions]
) -> AsyncGenerator[list[R]]: ...
@overload
def aiter_tasks(
    task: Callable[..., AsyncIterator[R]], /, *iterables: Items, errors: Returned, **options: Unpack[AiterOptions]
) -> AsyncGenerator[list[R] | BaseException]: ...
@overload
def aiter_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Items,
    errors: Kept = ...,
    **options: Unpack[AiterOptions],
) -> AsyncGenerator[R]: ...
@overload
def aiter_tasks(
    task: Callable[..., Coroutine[Any, Any, R]], /, *iterables: Items, errors: Returned, **options: Unpack[AiterOptions]
) -> AsyncGenerator[R | BaseException]: ...
@overload
def aiter_tasks(
    task: Callable[..., AsyncIterator[Any] | Coroutine[Any, Any, Any]],
    /,
    *iterables: Items,
    errors: Errors,
    **options: Unpack[AiterOptions],
) -> AsyncGenerator[Any]: ...


def aiter_tasks(
    task: Callable[..., Any],
    /,
    *iterables: Items,
    limit: int | None = LIMIT,
    ordered: bool = False,
    errors: Errors = "raise",
    window: int | None = None,
    progress: bool | str | None = None,
) -> AsyncGenerator[Any]:
    """Call an async task for each item, a number of them at a time on the running loop; give the results as they come.

    Nothing runs before the first result is asked for. From then on, items are begun and go on while the consumer is
    busy, as far as `limit` and `window` allow. Everything about the task holds for each item: retries, timeout, cache,
    dataset, hooks. Each runs in an asyncio task and a copy of the context of its own, on this loop, whatever backend
    the task or the session names.

    A consumer that may stop early says when it does, so that what runs then has been cancelled and has ended at the end
    of the block; else that happens soon after, when Python has found that nobody is reading any more::

        async with contextlib.aclosing(aiter_tasks(fetch, urls)) as pages:
            async for page in pages:
                if is_it(page):
                    break

    Args:
        task: An async task, or any async function, which is made one. An async stream gives a list for each item. For
            sync tasks there is ``await asyncio.to_thread(map_tasks, task, items)``.
        iterables: The arguments, as for the builtin `map`: one iterable for each parameter, sync or async. They are
            read in an asyncio task of their own. Those that have a length must have the same; pass what is the same for
            all items as ``itertools.repeat(value)``.
        limit: How many items may run at a time; None: all there are, at once.
        ordered: Give results in the order of the items; False: as they come.
        errors: ``"raise"``: the first error ends the map: what runs is cancelled, and when that has ended the error is
            raised with a note that says for which item. ``"return"``: errors stand among the results. ``"skip"``: they
            are left out. An item that is cancelled, though the map is not, has failed with a `CancelledError` and is
            treated alike. `KeyboardInterrupt` and `SystemExit` always end the map.
        window: How many items may be taken that have not been given out. Default: twice the limit.
        progress: True or a label: show how many items are done, how fast, and how long the rest will take.

    Raises:
        OptionTypeError, OptionValueError: An argument has a value that cannot work.
        SessionError: The session was left before all results had been read.

    Example:
        >>> import asyncio
        >>> from eagerly import aiter_tasks, task
        >>> @task
        ... async def double(x: int) -> int:
        ...     return 2 * x
        >>> async def main() -> None:
        ...     async for result in aiter_tasks(double, [1, 2, 3], ordered=True):
        ...         print(result)
        >>> asyncio.run(main())
        2
        4
        6
    """
    return _results(_plan("aiter_tasks", task, iterables, limit, ordered, errors, window, progress))


async def _results(plan: _Plan) -> AsyncGenerator[Any]:
    with showing(plan.label, plan.total) as shown:
        async with plan.fan(shown) as fan:
            while await fan.more():
                for result in fan.results():
                    yield (result, result := None)[0]  # as there: nothing keeps it while the consumer has it


class _Plan(NamedTuple):
    """A map that has been checked, and of which nothing has begun."""

    task: Task[..., Any]
    iterables: tuple[Items, ...]
    total: int | None
    limit: int | None
    options: MapOptions
    label: str | None

    def fan(self, progress: MapProgress | None) -> AsyncFanout:
        """Where it is called, the map belongs."""
        return AsyncFanout(
            self.task,
            _rows(self.iterables),
            unary=len(self.iterables) == 1,
            limit=self.limit,
            window=self.options.window,
            ordered=self.options.ordered,
            errors=self.options.errors,
            progress=progress,
        )


def _plan(
    where: str,
    func: Any,
    iterables: tuple[Items, ...],
    limit: Any,
    ordered: Any,
    errors: Any,
    window: Any,
    progress: Any,
) -> _Plan:
    """Check everything now.

    Raises:
        OptionTypeError, OptionValueError: An argument has a value that cannot work.
    """
    task = as_task(where, func)
    if not task.is_async:
        raise OptionTypeError(
            f"{where}() takes async tasks, and task {task.name!r} is not: it would block the event loop; write "
            f"await asyncio.to_thread(map_tasks, {task.__name__}, ...)"
        )
    if limit is not None:
        positive(f"{where}(limit=...)", limit)
        if window is None and where == "aiter_tasks":
            window = 2 * limit
    options = map_options(where, window, "auto", ordered, errors, "fail")
    total = total_of(where, task, iterables, on_loop=True)
    return _Plan(task, iterables, total, limit, options, progress_label(where, progress, task))


class _Together:
    """The items of several iterables, of which some are async, as tuples; as many as the shortest has."""

    def __init__(self, iterables: tuple[Items, ...]) -> None:
        self._sources = [aiter(each) if isinstance(each, AsyncIterable) else iter(each) for each in iterables]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        row: list[Any] = []
        for source in self._sources:
            if isinstance(source, AsyncIterator):
                row.append(await anext(source))
                continue
            for item in source:
                row.append(item)
                break
            else:
                raise StopAsyncIteration
        return tuple(row)


def _rows(iterables: tuple[Items, ...]) -> Items:
    """The arguments of each item: one argument each if there is one iterable, else tuples."""
    if len(iterables) == 1:
        return iterables[0]
    if any(isinstance(each, AsyncIterable) for each in iterables):
        return _Together(iterables)
    return zip(*iterables, strict=False)  # none of them is async
