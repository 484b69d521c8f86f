"""What type checkers see of maps. Checked and run by `tests/test_typing.py`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal, TextIO, assert_type

from eagerly import aiter_tasks, gather_tasks, iter_tasks, map_tasks, share, task


@task
def length(word: str) -> int:
    return len(word)


@task(retries=1)
async def fetch(url: str, limit: int = 1) -> bytes:
    return url.encode()[:limit]


@task
def letters(word: str) -> Iterator[str]:
    yield from word


@task
async def ticks(n: int) -> AsyncIterator[int]:
    for tick in range(n):
        yield tick


@task
def opened(path: Path) -> TextIO:
    return path.open()


class Shop:
    @task
    def price(self, item: str) -> float:
        return len(item) * 1.5

    @task
    async def order(self, item: str) -> bool:
        return bool(item)


def double(x: int) -> float:
    return 2.0 * x


async def double_async(x: int) -> float:
    return 2.0 * x


# The four kinds of task, and plain callables


assert_type(map_tasks(length, ["a", "bb"]), list[int])
assert_type(map_tasks(fetch, ["a", "bb"], [1, 2]), list[bytes])
assert_type(map_tasks(letters, ["a", "bb"], progress=False), list[list[str]])
assert_type(map_tasks(ticks, [1, 2]), list[list[int]])
assert_type(map_tasks(opened, list[Path]()), list[TextIO])
assert_type(map_tasks(Shop().price, ["a"]), list[float])
assert_type(map_tasks(double, [1, 2], backend="inline", chunk=1), list[float])
assert_type(map_tasks(double_async, [1, 2]), list[float])
assert_type(map_tasks(len, ["a", "bb"]), list[int])

assert_type(iter_tasks(length, ["a", "bb"]), Iterator[int])
assert_type(iter_tasks(letters, ["a", "bb"], ordered=False), Iterator[list[str]])
assert_type(iter_tasks(fetch, ["a", "bb"]), Iterator[bytes])
assert_type(iter_tasks(ticks, [1, 2]), Iterator[list[int]])
assert_type(iter_tasks(double, [1, 2], window=2), Iterator[float])


# Errors among the results


def errors(errors: Literal["raise", "return", "skip"]) -> None:
    assert_type(map_tasks(length, ["a"], errors="skip"), list[int])
    assert_type(map_tasks(length, ["a"], errors="return"), list[int | BaseException])
    assert_type(map_tasks(letters, ["a"], errors="return"), list[list[str] | BaseException])
    assert_type(iter_tasks(fetch, ["a"], errors="return"), Iterator[bytes | BaseException])
    assert_type(map_tasks(length, ["a"], errors=errors), list[Any])


errors("return")


# On the loop


async def numbers() -> AsyncIterator[int]:
    yield 1


async def on_the_loop(errors: Literal["raise", "return", "skip"]) -> None:
    assert_type(await gather_tasks(fetch, ["a", "bb"], limit=2), list[bytes])
    assert_type(await gather_tasks(fetch, ["a"], errors="skip"), list[bytes])
    assert_type(await gather_tasks(fetch, ["a"], errors="return"), list[bytes | BaseException])
    assert_type(await gather_tasks(ticks, numbers(), progress=False), list[list[int]])
    assert_type(await gather_tasks(ticks, [1], errors="return"), list[list[int] | BaseException])
    assert_type(await gather_tasks(double_async, numbers()), list[float])
    assert_type(await gather_tasks(Shop().order, ["a"]), list[bool])
    assert_type(await gather_tasks(fetch, ["a"], errors=errors), list[Any])

    assert_type(aiter_tasks(fetch, ["a"]), AsyncGenerator[bytes, None])
    assert_type(aiter_tasks(ticks, [1], window=3), AsyncGenerator[list[int], None])
    assert_type(aiter_tasks(fetch, ["a"], errors="return"), AsyncGenerator[bytes | BaseException, None])
    async for page in aiter_tasks(fetch, ["a"], ordered=True):
        assert_type(page, bytes)
    async with contextlib.aclosing(aiter_tasks(double_async, [1])) as results:
        async for result in results:
            assert_type(result, float)
            break


asyncio.run(on_the_loop("raise"))

assert_type(share([1]), list[int])
