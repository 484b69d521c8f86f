"""What type checkers see of `@task`: the forms it is written in and the four kinds it makes.

Checked by `tests/test_typing.py`, and run by it as well, so that no form is typed that does not work.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NoReturn, ParamSpec, TextIO, TypeVar, assert_type, overload

from eagerly import AsyncTask, AsyncTaskStream, Retry, SyncTask, SyncTaskStream, Task, task

P = ParamSpec("P")
T = TypeVar("T")


def add(x: int, /, y: int = 0) -> str:
    return str(x + y)


async def fetch(url: str, *, limit: int = 1) -> bytes:
    return url.encode()[:limit]


def numbers(n: int, /) -> Iterator[int]:
    yield from range(n)


async def ticks(n: int, /) -> AsyncIterator[int]:
    for tick in range(n):
        yield tick


# The forms of the decorator


@task
def bare(x: int, /, y: int = 0) -> str:
    return add(x, y)


@task()
def called(x: int, /, y: int = 0) -> str:
    return add(x, y)


@task(
    name="add_{x}",
    description="Adds.",
    retries=Retry(3, delay=timedelta(seconds=1)),
    timeout=timedelta(minutes=1),
    tags=("a", "b"),
    wrap_errors=False,
)
def configured(x: int, /, y: int = 0) -> str:
    return add(x, y)


assert_type(bare(1), str)
assert_type(bare(1, 2), str)
assert_type(bare(1, y=2), str)
assert_type(called(1, y=2), str)
assert_type(configured(1, y=2), str)
assert_type(task(add)(1, y=2), str)
assert_type(task(add, retries=2, timeout=1.5, tags=["a"])(1, y=2), str)
assert_type(task(retries=2)(add)(1, y=2), str)


# The four kinds, in every form


@task
async def bare_async(url: str, *, limit: int = 1) -> bytes:
    return url.encode()[:limit]


@task
def bare_stream(n: int) -> Iterator[int]:
    yield n


@task
async def bare_async_stream(n: int) -> AsyncIterator[int]:
    yield n


@task(retries=1)
async def configured_async(url: str, *, limit: int = 1) -> bytes:
    return url.encode()[:limit]


@task(retries=1)
def configured_stream(n: int) -> Iterator[int]:
    yield n


@task(retries=1)
async def configured_async_stream(n: int) -> AsyncIterator[int]:
    yield n


def one_int(n: int, /) -> str:
    return str(n)


async def one_int_async(n: int, /) -> str:
    return str(n)


assert_type(task(one_int), SyncTask[[int], str])
assert_type(task(one_int, retries=1), SyncTask[[int], str])
assert_type(task(retries=1)(one_int), SyncTask[[int], str])
assert_type(task(one_int_async), AsyncTask[[int], str])
assert_type(task(one_int_async, timeout=1), AsyncTask[[int], str])
assert_type(task(timeout=1)(one_int_async), AsyncTask[[int], str])
assert_type(task(numbers), SyncTaskStream[[int], int])
assert_type(task(numbers, retries=1), SyncTaskStream[[int], int])
assert_type(task(retries=1)(numbers), SyncTaskStream[[int], int])
assert_type(task(ticks), AsyncTaskStream[[int], int])
assert_type(task(ticks, retries=1), AsyncTaskStream[[int], int])
assert_type(task(retries=1)(ticks), AsyncTaskStream[[int], int])


async def calls_of_each_kind() -> None:
    assert_type(await bare_async("x", limit=3), bytes)
    assert_type(await configured_async("x"), bytes)
    assert_type(bare_stream(2), Generator[int, Any, Any])
    assert_type(configured_stream(2), Generator[int, Any, Any])
    assert_type(bare_async_stream(2), AsyncGenerator[int, Any])
    assert_type(configured_async_stream(2), AsyncGenerator[int, Any])
    assert_type([item for item in bare_stream(2)], list[int])  # noqa: C416 - the loop is what is looked at
    assert_type([item async for item in bare_async_stream(2)], list[int])


# The kind follows from the annotation, however it is spelled


def as_generator(n: int, /) -> Generator[int, str, bool]:
    answer = yield n
    return bool(answer)


async def as_async_generator(n: int, /) -> AsyncGenerator[int, str]:
    yield n


def as_coroutine(n: int, /) -> Coroutine[Any, Any, str]:
    return one_int_async(n)


def as_awaitable(n: int, /) -> Awaitable[str]:
    return one_int_async(n)


assert_type(task(as_coroutine), AsyncTask[[int], str])
assert_type(task(as_generator), SyncTaskStream[[int], int])
assert_type(task(as_async_generator), AsyncTaskStream[[int], int])
# What a checker cannot see: whether a function that is annotated like this is an async one. A call has the right type.
assert_type(task(as_awaitable), SyncTask[[int], Awaitable[str]])


async def functions_that_are_passed_around(handler: Callable[[str], Awaitable[int]]) -> None:
    assert_type(await task(handler, retries=3)("event"), int)


# A result that can do more than iterate keeps its type


def open_log(path: str, /) -> TextIO:
    return Path(path).open(encoding="utf-8")


def give_up() -> NoReturn:
    sys.exit("no way")


assert_type(task(open_log), SyncTask[[str], TextIO])
give_up_task: SyncTask[[], NoReturn] = task(give_up)


def untyped_inside(rows: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return [rows, options]


async def untyped_inside_async(rows: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return [rows, options]


def untyped_inside_stream(rows: dict[str, Any], **options: Any) -> Iterator[dict[str, Any]]:
    yield rows | options


async def any_in_a_parameter_costs_nothing() -> None:
    # mypy gives up where several overloads fit an argument that contains Any and differ in what they make of it. Those
    # of `task` are chosen so that this does not happen here. It does for functions that are annotated with Generator or
    # AsyncGenerator and have Any in their signature: with Iterator and AsyncIterator all is well.
    assert_type(task(untyped_inside)({}, a=1), list[dict[str, Any]])
    assert_type(await task(untyped_inside_async)({}, a=1), list[dict[str, Any]])
    assert_type(task(untyped_inside_stream)({}, a=1), Generator[dict[str, Any], Any, Any])


# Signatures survive


@task
def generic(item: T, *, times: int) -> list[T]:
    return [item] * times


# What mypy cannot see: that a function may return its type variable as it is (`(item: T) -> T`). The overload for
# context managers, the first that fits, is all it looks at; the call has the right type and needs a
# `type: ignore[type-var]`.


@overload
def parse(text: str) -> int: ...
@overload
def parse(text: bytes, *, strict: bool) -> float: ...
@task  # on the implementation: its overloads stay
def parse(text: str | bytes, *, strict: bool = False) -> int | float:
    return float(text) if strict else int(text)


assert_type(generic("x", times=2), list[str])
assert_type(generic(1, times=2), list[int])
assert_type(parse("1"), int)
assert_type(parse(b"1", strict=True), float)


@task
def keywords_only(*, left: int, right: str = "") -> tuple[int, str]:
    return left, right


@task
def variadic(first: int, *rest: str, **named: float) -> Literal["ok"]:
    return "ok"


assert_type(keywords_only(left=1), tuple[int, str])
assert_type(variadic(1, "a", "b", c=1.0), Literal["ok"])


# Other callables


class Adder:
    def __call__(self, x: int, /) -> str:
        return str(x)

    def bound(self, x: int, /) -> str:
        return str(x)


class AsyncAdder:
    async def __call__(self, x: int, /) -> str:
        return str(x)


assert_type(task(lambda: 3)(), int)
assert_type(task(functools.partial(add, 1))(y=2), str)
assert_type(task(Adder())(1), str)
assert_type(task(Adder().bound), SyncTask[[int], str])
assert_type(task(AsyncAdder()), AsyncTask[[int], str])
assert_type(task(len)([1, 2]), int)


def decorate(function: Callable[P, T]) -> Callable[P, T]:
    """A user's own decorator on top of ours passes types through."""
    return task(function, retries=2)


assert_type(decorate(add)(1, y=2), str)


# options() keeps the type; a task can be used where its function can


async def copies() -> None:
    assert_type(bare.options(retries=3, timeout=None)(1, y=2), str)
    assert_type(await bare_async.options(timeout=2)("x", limit=1), bytes)
    assert_type(task(numbers).options(name="n"), SyncTaskStream[[int], int])
    assert_type(task(ticks).options(tags=("a",)), AsyncTaskStream[[int], int])


def takes_a_function(function: Callable[[int], str]) -> str:
    return function(1)


def takes_any_task(any_task: Task[[int], object]) -> None:
    assert_type(any_task.name, str)
    assert_type(any_task.description, str)
    assert_type(any_task.retries, int | Retry)
    assert_type(any_task.timeout, float | None)
    assert_type(any_task.tags, frozenset[str])
    assert_type(any_task.wrap_errors, bool | None)
    assert_type(any_task.is_async, bool)
    assert_type(any_task.is_generator, bool)
    any_task(1)


def all_are_tasks() -> None:
    takes_a_function(bare)
    takes_any_task(task(one_int))
    takes_any_task(task(one_int_async))
    takes_any_task(task(numbers))
    takes_any_task(task(ticks))
