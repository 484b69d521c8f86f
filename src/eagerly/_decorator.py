"""`task`, the decorator: from a function and options to the task of the fitting kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from eagerly._backend_options import BackendSpec
from eagerly._cache_options import CacheHash, StoreSpec
from eagerly._dataset_options import DatasetSpec
from eagerly._declaration import DEFAULTS, only_given
from eagerly._definitions import know
from eagerly._options import refuse_unknown
from eagerly._retry import Retry
from eagerly._run_options import RunOutputForm
from eagerly._sentinel import UNSET, UnsetType
from eagerly._tasks import AsyncTask, AsyncTaskStream, SyncTask, SyncTaskStream, make_task

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

__all__ = ["task"]

P = ParamSpec("P")
R = TypeVar("R")
Resource = TypeVar("Resource", bound="AbstractContextManager[Any] | AbstractAsyncContextManager[Any]")


class TaskOptions(TypedDict, total=False):
    """What ``task(...)`` takes besides a function."""

    name: str | None
    description: str | None
    backend: BackendSpec | None
    retries: int | Retry
    timeout: float | timedelta | None
    cache: bool | StoreSpec
    cache_store: StoreSpec | None
    cache_ttl: float | timedelta | None
    cache_hash: CacheHash | None
    cache_version: str | None
    cache_ignore: Iterable[str]
    dataset: str | None
    dataset_store: DatasetSpec | None
    dataset_format: str | None
    tags: Iterable[str]
    wrap_errors: bool | None
    run_output: RunOutputForm | None


# Type checkers do not see the kind of a function, only what it returns. In this order: what is a context manager is a
# result like any other, even if it iterates (an open file is an Iterator of lines); then the kinds that have a result
# type of their own, which for generators includes Iterator; then everything else. Awaitable has no line on purpose: a
# function annotated with it may be of either kind, and SyncTask[P, Awaitable[R]] is right about the call of both.


class TaskDecorator(Protocol):
    """What ``task(...)`` without a function returns: turns a function into the task of its kind."""

    @overload
    def __call__(self, func: Callable[P, Resource], /) -> SyncTask[P, Resource]: ...
    @overload
    def __call__(self, func: Callable[P, AsyncIterator[R]], /) -> AsyncTaskStream[P, R]: ...
    @overload
    def __call__(self, func: Callable[P, Iterator[R]], /) -> SyncTaskStream[P, R]: ...
    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, func: Callable[P, R], /) -> SyncTask[P, R]: ...


@overload
def task(func: Callable[P, Resource], /, **options: Unpack[TaskOptions]) -> SyncTask[P, Resource]: ...
@overload
def task(func: Callable[P, AsyncIterator[R]], /, **options: Unpack[TaskOptions]) -> AsyncTaskStream[P, R]: ...
@overload
def task(func: Callable[P, Iterator[R]], /, **options: Unpack[TaskOptions]) -> SyncTaskStream[P, R]: ...
@overload
def task(func: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskOptions]) -> AsyncTask[P, R]: ...
@overload
def task(func: Callable[P, R], /, **options: Unpack[TaskOptions]) -> SyncTask[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> TaskDecorator: ...


def task(
    func: Any = None,
    /,
    *,
    name: str | UnsetType | None = UNSET,
    description: str | UnsetType | None = UNSET,
    backend: BackendSpec | UnsetType | None = UNSET,
    retries: int | Retry | UnsetType = UNSET,
    timeout: float | timedelta | UnsetType | None = UNSET,
    cache: bool | StoreSpec | UnsetType = UNSET,
    cache_store: StoreSpec | UnsetType | None = UNSET,
    cache_ttl: float | timedelta | UnsetType | None = UNSET,
    cache_hash: CacheHash | UnsetType | None = UNSET,
    cache_version: str | UnsetType | None = UNSET,
    cache_ignore: Iterable[str] | UnsetType = UNSET,
    dataset: str | UnsetType | None = UNSET,
    dataset_store: DatasetSpec | UnsetType | None = UNSET,
    dataset_format: str | UnsetType | None = UNSET,
    tags: Iterable[str] | UnsetType = UNSET,
    wrap_errors: bool | UnsetType | None = UNSET,
    run_output: RunOutputForm | UnsetType | None = UNSET,
    **unknown: Any,
) -> Any:
    """Make a function dependable without changing how it is called.

    Use it as ``@task``, ``@task(...)``, ``task(fn)`` or ``task(fn, ...)`` on functions, methods, class and static
    methods (in either order), lambdas, partials, callable instances and builtins. The kind of the function decides
    what comes out: `SyncTask`, `AsyncTask`, `SyncTaskStream` (generator functions) or `AsyncTaskStream` (async
    generator functions). Calling it runs it at once and returns its value. Put ``@task`` above ``@classmethod``: from
    Python 3.13 on the other order gives a bound method of the task, which is called alike but has no ``options``.

    Args:
        func: The function, when used without parentheses.
        name: How the call is called in hooks and logs; ``{param}`` stands for an argument, ``{param:spec}`` for a
            formatted one. No periods. Default: the name of the function.
        description: For people. Default: the docstring of the function.
        backend: What `map_tasks` runs this task on, unless it is told otherwise: ``"thread"``, ``"process"``,
            ``"dask"``, ``"ray"``, a `Backend`, an executor, or a Dask client. Default: as the session says. Calls are
            not affected: they run where they are made.
        retries: How many attempts may follow a failed one, at once; or a `Retry`, for delays and choice of errors. A
            stream starts over only while no item has been delivered.
        timeout: Seconds (or a `timedelta`) that one attempt may take; then the caller gets a `TaskTimeoutError`. Not
            for generator functions.
        cache: True: look the result up in the cache store before running, and store it after. A path, a URL or a
            `CacheStore` does the same with a store of this task's own; True needs a session, and outside of one the
            task simply runs. A stream is stored when it is exhausted, and replayed item by item.
        cache_store: Where results go: a path, a URL or a `CacheStore`. Default: the store of the session.
        cache_ttl: Seconds (or a `timedelta`) after which a stored result is computed anew. Results that were stored
            with another one are not found.
        cache_hash: A function of the function and its inputs that returns a string; it replaces the whole key. Put the
            name of the task into it: tasks that return the same string share results.
        cache_version: Stands for the version of the code, which is otherwise found by looking at it.
        cache_ignore: Names of parameters that make no difference to the result.
        dataset: Save the result under this key, with placeholders as in `name`: ``"reports/{day}.csv"``. The items of
            a stream are written as they pass.
        dataset_store: Where: a path, a URL or a `DatasetStore`. Default: that of the session.
        dataset_format: The name of a format. Default: what the extension of the key and the value suggest.
        tags: Labels for hooks, and words to find its runs by; of 500 characters at most.
        wrap_errors: True: the caller gets a `TaskError` from the user's exception. None: as the session's `Settings`
            say.
        run_output: How what a submitted call returns is kept in a run store that is a database. ``"pickle"``: as a
            pickle, which only programs of the same user read. Default: as JSON, and a value that JSON does not have
            fails the run. A run in memory keeps the object itself.

    Raises:
        OptionTypeError: `func` is not a function, an option does not exist or has the wrong type (also a `TypeError`).
        OptionValueError: An option has a value that cannot work for this function (also a `ValueError`).

    Example:
        >>> from eagerly import task
        >>> @task(retries=3, timeout=10)
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double(21)
        42
    """
    options = only_given(
        name=name,
        description=description,
        backend=backend,
        retries=retries,
        timeout=timeout,
        cache=cache,
        cache_store=cache_store,
        cache_ttl=cache_ttl,
        cache_hash=cache_hash,
        cache_version=cache_version,
        cache_ignore=cache_ignore,
        dataset=dataset,
        dataset_store=dataset_store,
        dataset_format=dataset_format,
        tags=tags,
        wrap_errors=wrap_errors,
        run_output=run_output,
    )
    if func is not None:
        made = _declared(func, options)
        refuse_unknown("task", unknown, DEFAULTS)
        return made
    refuse_unknown("task", unknown, DEFAULTS)

    def decorate(func: Any, /) -> Any:
        return _declared(func, options)

    return decorate


def _declared(func: Any, options: dict[str, Any]) -> Any:
    made = make_task(func, options)
    know(made)
    return made
