"""`map_tasks` and `iter_tasks`: one task over many arguments, on whatever backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

from eagerly._engines import interrupts, open_engine, under_way, wanted_backend
from eagerly._fanout import Fanout
from eagerly._map_input import are_ready, as_task, total_of, with_objects
from eagerly._map_options import map_options, refuse_what_cannot_be
from eagerly._map_progress import progress_label, showing
from eagerly.backends._protocol import FreesWorker
from eagerly.backends._registry import check_backend_name
from eagerly.errors import BackendError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from eagerly._map_options import Errors, MapOptions, OnCrash
    from eagerly._task import Task

__all__ = ["iter_tasks", "map_tasks"]

R = TypeVar("R")
Resource = TypeVar("Resource", bound="AbstractContextManager[Any] | AbstractAsyncContextManager[Any]")
Kept = Literal["raise", "skip"]
Returned = Literal["return"]


class Options(TypedDict, total=False):
    """What both take besides ``errors``."""

    backend: Any
    window: int | None
    chunk: int | Literal["auto"]
    ordered: bool
    on_crash: OnCrash
    progress: bool | str | None


# What is called may be a task or any callable, and type checkers see only what it returns: so the kinds are told apart
# as they are for `task`, in its order. Each has a line for errors that stand among the results; the last line is for
# those who decide about errors at run time.


@overload
def map_tasks(
    task: Callable[..., Resource], /, *iterables: Iterable[Any], errors: Kept = ..., **options: Unpack[Options]
) -> list[Resource]: ...
@overload
def map_tasks(
    task: Callable[..., Resource], /, *iterables: Iterable[Any], errors: Returned, **options: Unpack[Options]
) -> list[Resource | BaseException]: ...
@overload
def map_tasks(
    task: Callable[..., AsyncIterator[R] | Iterator[R]],
    /,
    *iterables: Iterable[Any],
    errors: Kept = ...,
    **options: Unpack[Options],
) -> list[list[R]]: ...
@overload
def map_tasks(
    task: Callable[..., AsyncIterator[R] | Iterator[R]],
    /,
    *iterables: Iterable[Any],
    errors: Returned,
    **options: Unpack[Options],
) -> list[list[R] | BaseException]: ...
@overload
def map_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Iterable[Any],
    errors: Kept = ...,
    **options: Unpack[Options],
) -> list[R]: ...
@overload
def map_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Iterable[Any],
    errors: Returned,
    **options: Unpack[Options],
) -> list[R | BaseException]: ...
@overload
def map_tasks(
    task: Callable[..., R], /, *iterables: Iterable[Any], errors: Kept = ..., **options: Unpack[Options]
) -> list[R]: ...
@overload
def map_tasks(
    task: Callable[..., R], /, *iterables: Iterable[Any], errors: Returned, **options: Unpack[Options]
) -> list[R | BaseException]: ...
@overload
def map_tasks(
    task: Callable[..., Any], /, *iterables: Iterable[Any], errors: Errors, **options: Unpack[Options]
) -> list[Any]: ...


def map_tasks(
    task: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    backend: Any = None,
    window: int | None = None,
    chunk: int | Literal["auto"] = "auto",
    ordered: bool = True,
    errors: Errors = "raise",
    on_crash: OnCrash = "fail",
    progress: bool | str | None = None,
) -> list[Any]:
    """Call a task for each item, on the workers of a backend, and return the list of its results.

    Args and errors: as in `iter_tasks`, which gives the results one by one.

    Example:
        >>> from eagerly import map_tasks, task
        >>> @task
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> map_tasks(double, [1, 2, 3])
        [2, 4, 6]
    """
    done: list[Any] = []
    for _ in _start(
        "map_tasks",
        task,
        iterables,
        into=done,
        backend=backend,
        window=window,
        chunk=chunk,
        ordered=ordered,
        errors=errors,
        on_crash=on_crash,
        progress=progress,
    ):
        pass
    return done


@overload
def iter_tasks(
    task: Callable[..., Resource], /, *iterables: Iterable[Any], errors: Kept = ..., **options: Unpack[Options]
) -> Iterator[Resource]: ...
@overload
def iter_tasks(
    task: Callable[..., Resource], /, *iterables: Iterable[Any], errors: Returned, **options: Unpack[Options]
) -> Iterator[Resource | BaseException]: ...
@overload
def iter_tasks(
    task: Callable[..., AsyncIterator[R] | Iterator[R]],
    /,
    *iterables: Iterable[Any],
    errors: Kept = ...,
    **options: Unpack[Options],
) -> Iterator[list[R]]: ...
@overload
def iter_tasks(
    task: Callable[..., AsyncIterator[R] | Iterator[R]],
    /,
    *iterables: Iterable[Any],
    errors: Returned,
    **options: Unpack[Options],
) -> Iterator[list[R] | BaseException]: ...
@overload
def iter_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Iterable[Any],
    errors: Kept = ...,
    **options: Unpack[Options],
) -> Iterator[R]: ...
@overload
def iter_tasks(
    task: Callable[..., Coroutine[Any, Any, R]],
    /,
    *iterables: Iterable[Any],
    errors: Returned,
    **options: Unpack[Options],
) -> Iterator[R | BaseException]: ...
@overload
def iter_tasks(
    task: Callable[..., R], /, *iterables: Iterable[Any], errors: Kept = ..., **options: Unpack[Options]
) -> Iterator[R]: ...
@overload
def iter_tasks(
    task: Callable[..., R], /, *iterables: Iterable[Any], errors: Returned, **options: Unpack[Options]
) -> Iterator[R | BaseException]: ...
@overload
def iter_tasks(
    task: Callable[..., Any], /, *iterables: Iterable[Any], errors: Errors, **options: Unpack[Options]
) -> Iterator[Any]: ...


def iter_tasks(
    task: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    backend: Any = None,
    window: int | None = None,
    chunk: int | Literal["auto"] = "auto",
    ordered: bool = True,
    errors: Errors = "raise",
    on_crash: OnCrash = "fail",
    progress: bool | str | None = None,
) -> Iterator[Any]:
    """Call a task for each item, on the workers of a backend, and give the results as they are asked for.

    Lazy on both sides: items are taken only as results are, so that the iterables may be infinite, and a consumer that
    stops stops it all. Everything about the task holds for each item: retries, timeout, cache, dataset, hooks.

    Args:
        task: A task, or any callable, which is made one. A stream task gives a list for each item. An async task runs
            on one event loop for each worker; where a loop runs already, use `gather_tasks`.
        iterables: The arguments, as for the builtin `map`: one iterable for each parameter. If all have a length, it
            must be the same; pass what is the same for all items as ``itertools.repeat(value)``.
        backend: ``"inline"``, ``"thread"``, ``"process"``, ``"dask"``, ``"ray"``, a `Backend`, an executor of
            `concurrent.futures`, or a Dask client. Default: that of the task, else of the session, else of the
            settings; in a task that runs in a map: inline.
        window: How many items may be taken that have not been given out. Default: as many as keep the workers busy.
        chunk: How many items a worker is handed at a time. ``"auto"``: one at first, then as many as take so long that
            handing them over costs little. Always one if the task has a timeout.
        ordered: Give results in the order of the items; False: as they come.
        errors: ``"raise"``: the first error ends the map: what has not begun never does, what runs is asked to stop,
            and the error is raised with a note that says for which item. ``"return"``: errors stand among the results.
            ``"skip"``: they are left out.
        on_crash: ``"fail"``: an item whose worker dies has failed. ``"retry"``: the retries of the task cover that.
        progress: True or a label: show how many items are done, how fast, and how long the rest will take.

    Raises:
        OptionTypeError, OptionValueError: An argument has a value that cannot work.
        BackendError: The backend does not exist, cannot be used here, or cannot do what an option asks for; an item
            cannot travel to it.
        WorkerCrashed: The worker of an item died.

    Example:
        >>> import itertools
        >>> from eagerly import iter_tasks, task
        >>> @task
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> list(itertools.islice(iter_tasks(double, itertools.count()), 3))
        [0, 2, 4]
    """
    return _start(
        "iter_tasks",
        task,
        iterables,
        backend=backend,
        window=window,
        chunk=chunk,
        ordered=ordered,
        errors=errors,
        on_crash=on_crash,
        progress=progress,
    )


def _start(
    where: str,
    func: Any,
    iterables: tuple[Iterable[Any], ...],
    *,
    into: list[Any] | None = None,
    backend: Any,
    window: Any,
    chunk: Any,
    ordered: Any,
    errors: Any,
    on_crash: Any,
    progress: Any,
) -> Iterator[Any]:
    """Check everything now, and run nothing before the first result is asked for. With `into` all go there at once."""
    task = as_task(where, func)
    options = map_options(where, window, chunk, ordered, errors, on_crash)
    total = total_of(where, task, iterables)
    if task.is_async:
        _refuse_in_loop(where, task)
    wanted = wanted_backend(task, backend)
    check_backend_name(f"{where}(backend=...)" if backend is not None else f"{where}() on backend={wanted!r}", wanted)
    label = progress_label(where, progress, task)
    return _results(where, task, iterables, total, wanted, options, label, into)


def _results(
    where: str,
    task: Task[..., Any],
    iterables: tuple[Iterable[Any], ...],
    total: int | None,
    wanted: Any,
    options: MapOptions,
    label: str | None,
    into: list[Any] | None,
) -> Iterator[Any]:
    if task.is_async:
        _refuse_in_loop(where, task)  # once more: what was begun outside may be read within
    engine, ours = open_engine(wanted)
    try:
        refuse_what_cannot_be(where, options, engine.capabilities, timed=task.timeout is not None)
        unary = len(iterables) == 1
        with showing(label, total) as progress:
            fan = Fanout(
                with_objects(task) if engine.capabilities.in_process else task,
                iter(iterables[0]) if unary else zip(*iterables, strict=False),
                unary=unary,
                total=total,
                ready=are_ready(iterables),
                engine=engine,
                wanted=wanted,
                options=options._replace(progress=progress),
            )
            with under_way(fan), engine.waiting() if isinstance(engine, FreesWorker) else nullcontext():
                if into is None:
                    yield from fan.results()
                else:
                    fan.collect(into)
    except BaseException as error:
        # Bodies in this process can only be waited for.
        ours = ours and not (engine.capabilities.in_process and interrupts(error))
        raise
    finally:
        if ours:
            engine.close()


def _refuse_in_loop(where: str, task: Task[..., Any]) -> None:
    """An async task cannot run on a loop of its own where one runs already."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    instead = f"await gather_tasks({task.__name__}, ...)"
    if where == "iter_tasks":
        instead = f"async for result in aiter_tasks({task.__name__}, ...)"
    raise BackendError(
        f"{where}() would block the event loop that runs here, and task {task.name!r} is async; write {instead}"
    )
