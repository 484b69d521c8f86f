"""Tasks that are called in sessions that record, importable so that worker processes find them.

Helpers only; nothing here asserts anything.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

from eagerly import Retry, current_task, session, task


def run_id() -> str:
    """That of the call that this runs for."""
    call = current_task()
    assert call is not None
    return f"run_{call.id.hex[:24]}"


@task
def double(x: int) -> int:
    return 2 * x


@task
async def double_async(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@task
def count(n: int) -> Iterator[int]:
    yield from range(n)


@task
async def count_async(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


@task
def fail(x: int) -> int:
    raise LookupError(f"no {x} here")


@task
async def fail_async(x: int) -> int:
    raise LookupError(f"no {x} here")


@task
def fail_stream(x: int) -> Iterator[int]:
    yield x
    raise LookupError(f"no {x} here")


@task
async def fail_async_stream(x: int) -> AsyncIterator[int]:
    yield x
    raise LookupError(f"no {x} here")


@task(tags=["outer"])
def nest(x: int) -> str:
    """Two calls, of which one has a call of its own."""
    double(x)
    middle(x)
    return run_id()


@task
def middle(x: int) -> int:
    return double(x + 1)


@task(retries=Retry(1, delay=0))
def second_time(x: int) -> int:
    call = current_task()
    assert call is not None
    if call.attempt == 1:
        raise OSError("not yet")
    return x


@task
def apart(x: int, place: str | None) -> int:
    """Calls in a session of its own, with another store or none."""
    with session(run_store=place):
        return double(x)


@task
def apart_alike(x: int) -> int:
    """Calls in a session of its own, with the same store."""
    with session():
        return double(x)


@task
def submits(x: int) -> str:
    return double.options(backend="thread").submit(x).id


@task
def die_within(x: int) -> int:
    """Its worker ends in the middle of a call that it makes."""
    return die(x)


@task(cache=True, cache_version="2")
def second_version(x: int) -> int:
    return x


@task(cache=True, cache_version="3")
def third_version(x: int) -> int:
    return second_version(x)


@task
def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def call(kind: str, function: Any, *args: Any) -> Any:
    """What a task of that kind gives, for a stream all of its items."""
    if kind == "sync":
        return function(*args)
    if kind == "stream":
        return list(function(*args))
    return asyncio.run(call_async(kind, function, *args))


async def call_async(kind: str, function: Any, *args: Any) -> Any:
    if kind == "async":
        return await function(*args)
    return [item async for item in function(*args)]
