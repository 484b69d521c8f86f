"""This process: the thread that asks, a pool of threads, an event loop; with a plain loop and daglite beside them."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from benchmarks.fanout.engines import Ways, installed
from benchmarks.fanout.rows import OURS
from benchmarks.fanout.work import double, double_async
from eagerly import map_tasks, session, task

NEEDS = None
DISTRIBUTIONS = ("daglite",)


@contextmanager
def ways() -> Iterator[Ways]:
    ours = task(double)
    with session(), ThreadPoolExecutor() as pool, asyncio.Runner() as runner:
        found: Ways = {
            ("inline", OURS): lambda count: map_tasks(ours, range(count), backend="inline"),
            ("inline", "task in a loop"): lambda count: [ours(number) for number in range(count)],
            ("inline", "plain loop"): lambda count: [double(number) for number in range(count)],
            ("thread", OURS): lambda count: map_tasks(ours, range(count), backend="thread"),
            ("thread", "ThreadPoolExecutor.map"): lambda count: list(pool.map(double, range(count))),
        }
        found |= _gathering(runner)
        if installed("daglite"):
            found |= _daglite()
        yield found


def _gathering(runner: asyncio.Runner) -> Ways:
    import eagerly

    async def plain(count: int) -> list[int]:
        return await asyncio.gather(*map(double_async, range(count)))

    gather: Callable[..., Any] | None = getattr(eagerly, "gather_tasks", None)
    if gather is None:
        return {}
    ours = task(double_async)

    async def gathered(count: int) -> list[int]:
        found: list[int] = await gather(ours, range(count))
        return found

    async def gathered_limited(count: int) -> list[int]:
        found: list[int] = await gather(ours, range(count), limit=100)
        return found

    async def tasks(count: int) -> list[int]:
        return await asyncio.gather(*map(ours, range(count)))

    return {
        ("gather", OURS): lambda count: runner.run(gathered(count)),
        ("gather", "eagerly, limit=100"): lambda count: runner.run(gathered_limited(count)),
        ("gather", "asyncio.gather of the tasks"): lambda count: runner.run(tasks(count)),
        ("gather", "asyncio.gather of the functions"): lambda count: runner.run(plain(count)),
    }


def _daglite() -> Ways:
    from daglite import evaluate
    from daglite import task as daglite_task

    def way(backend: str) -> Callable[[int], object]:
        # Its decorator renames the function it gets.
        copy = types.FunctionType(double.__code__, {"__name__": __name__}, "double")
        declared = daglite_task(copy, backend_name=backend)
        return lambda count: evaluate(declared.product(x=range(count)))

    return {("inline", "daglite"): way("inline"), ("thread", "daglite"): way("thread")}
