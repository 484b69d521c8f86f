"""The rows of the table: what is measured, what it may cost, and the raw, floor and eagerly contestants of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from benchmarks.contest import Contestant, Place, async_items, awaits, blocks, calls, items
from eagerly import hook_impl, session, task


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        key: What ``--only`` selects by.
        title: What the table says.
        target: Seconds it may cost over the baseline, or None for a row that has no target.
        baseline: The contestant whose time is subtracted, as (case, name).
        divisor: By what the difference is divided, for a row that adds several things at once.
    """

    key: str
    title: str
    target: float | None = None
    baseline: tuple[str, str] | None = None
    divisor: int = 1


US, MS = 1e-6, 1e-3


def _over_raw(key: str, title: str, target: float) -> Case:
    return Case(key, title, target, (key, "raw"))


CASES = (
    _over_raw("call-sync", "call, sync, outside a session", 0.75 * US),
    _over_raw("call-sync-inside", "call, sync, inside a session", 0.75 * US),
    _over_raw("call-async", "call, async, outside a session", 0.9 * US),
    _over_raw("call-async-inside", "call, async, inside a session", 0.9 * US),
    Case("hook-before", "listener: `before_node_execute`", 0.3 * US, ("call-sync-inside", "eagerly")),
    Case("hook-after", "listener: `after_node_execute`", 0.3 * US, ("call-sync-inside", "eagerly")),
    Case("hook-both", "listener: both, cost per hook", 0.3 * US, ("call-sync-inside", "eagerly"), 2),
    Case("hook-item", "listener: `node_iteration`", 0.3 * US, ("stream-sync-inside", "eagerly")),
    _over_raw("stream-sync", "stream item, sync, outside a session", 0.25 * US),
    _over_raw("stream-sync-inside", "stream item, sync, inside a session", 0.25 * US),
    _over_raw("stream-async", "stream item, async, outside a session", 0.35 * US),
    _over_raw("stream-async-inside", "stream item, async, inside a session", 0.35 * US),
    _over_raw("session", "`with session(): pass`", 1 * MS),
)


class Floor:
    """The least that an object called like a function can cost: it only forwards."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)


def plain(x: int) -> int:
    return x


async def plain_async(x: int) -> int:
    return x


def stream(count: int) -> Iterator[int]:
    for number in range(count):  # noqa: UP028  # `yield from` would skip the generator's own step
        yield number


async def async_stream(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Before:
    """Listens to one hook and does nothing."""

    @hook_impl
    def before_node_execute(self, metadata: Any) -> None:
        pass


class After:
    @hook_impl
    def after_node_execute(self, metadata: Any) -> None:
        pass


class Both(Before, After):
    pass


class EachItem:
    @hook_impl
    def node_iteration(self, metadata: Any, index: int) -> None:
        pass


def contestants() -> Iterator[Contestant]:
    """Raw, floor and eagerly, in every case."""
    sync_task, async_task = task(plain), task(plain_async)
    sync_stream, asynchronous_stream = task(stream), task(async_stream)
    places: tuple[tuple[str, Place], ...] = (
        ("", nullcontext),
        ("-inside", session),
    )
    for suffix, place in places:
        for name, func, async_func in (
            ("raw", plain, plain_async),
            ("floor", Floor(plain), Floor(plain_async)),
            ("eagerly", sync_task, async_task),
        ):
            yield Contestant(f"call-sync{suffix}", name, calls(func, 1, around=place))
            yield Contestant(f"call-async{suffix}", name, awaits(async_func, 1, around=place))
        for name, numbers, async_numbers in (
            ("raw", stream, async_stream),
            ("eagerly", sync_stream, asynchronous_stream),
        ):
            yield Contestant(f"stream-sync{suffix}", name, items(numbers, around=place))
            yield Contestant(f"stream-async{suffix}", name, async_items(async_numbers, around=place))
    for key, listener in (("before", Before()), ("after", After()), ("both", Both())):
        yield Contestant(f"hook-{key}", "eagerly", calls(sync_task, 1, around=_listening(listener)))
    yield Contestant("hook-item", "eagerly", items(sync_stream, around=_listening(EachItem())))
    yield Contestant("session", "raw", blocks(nullcontext))
    yield Contestant("session", "eagerly", blocks(session))


def _listening(plugin: object) -> Place:
    return lambda: session(plugins=[plugin])
