"""`gather_tasks` and `aiter_tasks`: order, limits, errors, cancellation, and that nothing runs on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly import (
    Settings,
    aiter_tasks,
    current_session,
    current_task,
    gather_tasks,
    iter_tasks,
    map_tasks,
    session,
    share,
    task,
)
from eagerly.errors import OptionTypeError, OptionValueError, SessionError
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, TheirError, async_kinds

Body = Callable[[Any], Awaitable[Any]]


def make(kind: Kind, body: Body, **options: Any) -> Any:
    """A task that awaits `body`; the stream yields what it gives, twice."""
    if kind is Kind.ASYNC:

        async def function(x: Any) -> Any:
            return await body(x)

    else:

        async def function(x: Any) -> Any:  # type: ignore[misc]
            yield (result := await body(x))
            yield result

    function.__name__ = function.__qualname__ = "body"
    return task(function, **options)


def result_of(kind: Kind, result: Any) -> Any:
    return result if kind is Kind.ASYNC else [result, result]


async def collect(task: Any, *iterables: Any, **options: Any) -> list[Any]:
    return [result async for result in aiter_tasks(task, *iterables, **options)]


async def collect_in_order(task: Any, *iterables: Any, **options: Any) -> list[Any]:
    return await collect(task, *iterables, ordered=True, **options)


both = pytest.mark.parametrize("read", [gather_tasks, collect], ids=["gather", "aiter"])
in_order = pytest.mark.parametrize("read", [gather_tasks, collect_in_order], ids=["gather", "aiter"])


async def count_to(n: int) -> AsyncIterator[int]:
    for each in range(n):
        await asyncio.sleep(0)
        yield each


def others() -> set[asyncio.Task[Any]]:
    """What runs on this loop besides the test."""
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


class Items:
    """A body whose items wait until they are let go, and what they have done so far."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self.cancelled: list[Any] = []
        self.now = self.most = 0
        self.gates: dict[Any, asyncio.Event] = {}
        self._changed = asyncio.Event()

    async def __call__(self, x: Any) -> Any:
        self.begun.append(x)
        self.now += 1
        self.most = max(self.most, self.now)
        self._changed.set()
        try:
            await self.gates.setdefault(x, asyncio.Event()).wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # ending may take its time
            self.cancelled.append(x)
            raise
        finally:
            self.now -= 1
            self.ended.append(x)
            self._changed.set()
        return x

    def let_go(self, *items: Any) -> None:
        for each in items:
            self.gates.setdefault(each, asyncio.Event()).set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


# Results


@async_kinds
@in_order
async def test_results_are_in_the_order_of_the_items(kind: Kind, read: Any) -> None:
    items = Items()
    running = asyncio.create_task(read(make(kind, items), range(5)))
    for each in (3, 1, 4, 0, 2):
        await items.until(lambda: len(items.begun) == 5)
        items.let_go(each)
        await items.until(lambda each=each: each in items.ended)
    assert await running == [result_of(kind, each) for each in range(5)]
    assert items.ended == [3, 1, 4, 0, 2]


@async_kinds
async def test_results_come_as_they_arrive(kind: Kind) -> None:
    items = Items()
    results = aiter_tasks(make(kind, items), range(5))
    order = [3, 1, 4, 0, 2]
    items.let_go(order[0])
    found = []
    async for result in results:
        found.append(result)
        items.let_go(*order[len(found) : len(found) + 1])
    assert found == [result_of(kind, each) for each in order]


@given(
    turns=st.lists(st.integers(0, 5), max_size=12),
    failing=st.sets(st.integers(0, 11)),
    pauses=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    limit=st.integers(1, 5) | st.none(),
    window=st.integers(1, 8) | st.none(),
    ordered=st.booleans(),
    errors=st.sampled_from(["return", "skip"]),
    is_async=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_none_is_lost_and_no_bound_is_passed(  # noqa: C901 - a task, its items and their consumer
    turns: list[int],
    failing: set[int],
    pauses: list[int],
    limit: int | None,
    window: int | None,
    ordered: bool,
    errors: Any,
    is_async: bool,
) -> None:
    """Items take so many turns of the loop, and the consumer pauses for so many after each result."""
    running: set[int] = set()
    most = taken = furthest = 0
    found: list[int] = []

    async def body(x: int) -> int:
        nonlocal most
        running.add(x)
        most = max(most, len(running))
        for _ in range(turns[x]):
            await asyncio.sleep(0)
        running.discard(x)
        if x in failing:
            raise TheirError(x)
        return x

    def items() -> Iterator[int]:
        nonlocal taken, furthest
        for taken in range(1, len(turns) + 1):
            furthest = max(furthest, taken - len(found))
            yield taken - 1

    async def async_items() -> AsyncIterator[int]:
        for each in items():
            await asyncio.sleep(0)
            yield each

    async def main() -> None:
        options: Any = {"limit": limit, "window": window, "ordered": ordered, "errors": errors}
        async for result in aiter_tasks(task(body), async_items() if is_async else items(), **options):
            found.append(result.args[0] if isinstance(result, TheirError) else result)
            for _ in range(pauses[len(found) - 1]):
                await asyncio.sleep(0)

    asyncio.run(main())
    assert (found if ordered else sorted(found)) == [
        each for each in range(len(turns)) if errors == "return" or each not in failing
    ]
    assert most <= (limit or 12)
    if errors == "return":  # else what is left out has been given out too
        assert furthest <= (window or 2 * (limit or 12))


@in_order
async def test_no_items_no_results(read: Any) -> None:
    assert await read(task(Items()), []) == []


@in_order
async def test_several_iterables_are_arguments_sync_and_async(read: Any) -> None:
    @task
    async def together(*args: int) -> tuple[int, ...]:
        return args

    assert await read(together, [1, 2], itertools.count(10)) == [(1, 10), (2, 11)]
    assert await read(together, count_to(2), itertools.count(10)) == [(0, 10), (1, 11)]
    assert await read(together, itertools.count(10), count_to(2)) == [(10, 0), (11, 1)]
    assert await read(together, iter([7]), count_to(2)) == [(7, 0)]


@in_order
async def test_plain_async_functions_will_do(read: Any) -> None:
    async def double(x: int) -> int:
        return 2 * x

    async def twice(x: int) -> AsyncIterator[int]:
        yield x
        yield x

    assert await read(double, [1, 2]) == [2, 4]
    assert await read(twice, [1, 2]) == [[1, 1], [2, 2]]


@in_order
async def test_shared_objects_arrive_themselves(read: Any) -> None:
    big = object()

    @task
    async def is_it(x: int, shared: object) -> bool:
        return shared is big

    assert await read(is_it, [1, 2], itertools.repeat(share(big))) == [True, True]

    @task
    async def is_it_alone(shared: object) -> bool:
        return shared is big

    assert await read(is_it_alone, [share(big)]) == [True]


# Bounds


@both
async def test_as_many_run_as_may_and_not_one_more(read: Any) -> None:
    items = Items()
    running = asyncio.create_task(read(task(items), range(10), limit=3))
    await items.until(lambda: len(items.begun) == 3)
    for _ in range(10):
        await asyncio.sleep(0)
    assert items.begun == [0, 1, 2]
    for done in range(10):
        items.let_go(done)
        await items.until(lambda done=done: len(items.begun) == min(done + 4, 10))
    await running
    assert items.most == 3


@both
async def test_without_a_limit_all_run_at_once(read: Any) -> None:
    items = Items()
    running = asyncio.create_task(read(task(items), range(500), limit=None))
    await items.until(lambda: len(items.begun) == 500)
    items.let_go(*range(500))
    assert len(await running) == 500


@both
async def test_a_hundred_run_where_nothing_is_said(read: Any) -> None:
    items = Items()
    running = asyncio.create_task(read(task(items), range(200)))
    await items.until(lambda: len(items.begun) == 100)
    items.let_go(*range(200))
    await running
    assert items.most == 100


async def test_an_infinite_iterable_is_read_as_far_as_the_window() -> None:
    taken = itertools.count()
    items = (next(taken) for _ in itertools.repeat(None))

    @task
    async def same(x: int) -> int:
        return x

    async with contextlib.aclosing(aiter_tasks(same, items, limit=3, window=5)) as results:
        found = [await anext(results) for _ in range(10)]
    assert found == list(range(10))
    assert next(taken) <= 15


async def test_where_nothing_is_said_the_window_is_twice_the_limit() -> None:
    taken: list[int] = []
    items = (taken.append(each) or each for each in itertools.count())  # type: ignore[func-returns-value]

    async def same(x: int) -> int:
        return x

    async with contextlib.aclosing(aiter_tasks(same, items, limit=3)) as results:
        await anext(results)
        for _ in range(50):
            await asyncio.sleep(0)
    assert len(taken) == 7


async def test_a_consumer_that_pauses_pauses_the_items() -> None:
    begun = []

    @task
    async def note(x: int) -> int:
        begun.append(x)
        return x

    async with contextlib.aclosing(aiter_tasks(note, itertools.count(), limit=2, window=4)) as results:
        await anext(results)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(begun) == 5


async def test_a_slow_iterable_does_not_keep_begun_items_waiting() -> None:
    """An iterable that blocks the loop gives it a turn now and then, long before the limit is reached."""
    ran = threading.Event()

    def items() -> Iterator[int]:
        for each in range(90):
            yield each
            if ran.wait(0.02):
                return

    @task
    async def body(x: int) -> int:
        ran.set()
        return x

    assert len(await gather_tasks(body, items())) < 90


@both
async def test_memory_is_flat(read: Any) -> None:
    @task
    async def nothing(x: bytes) -> None:
        return None

    def items(count: int) -> Iterator[bytes]:
        return (bytes(1000) for _ in range(count))

    async def peak(count: int) -> int:
        tracemalloc.start()
        try:
            if read is gather_tasks:
                await gather_tasks(nothing, items(count), limit=50, errors="skip")
            else:
                async for _ in aiter_tasks(nothing, items(count), limit=50):
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(200)
    assert await peak(4000) < await peak(400) + 8 * 4000 + 100_000


@pytest.mark.slow
async def test_memory_is_flat_over_many_items() -> None:
    @task
    async def nothing(x: int) -> None:
        return None

    tracemalloc.start()
    try:
        async for _ in aiter_tasks(nothing, range(100_000)):
            pass
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@both
async def test_nothing_keeps_results_or_arguments(read: Any) -> None:
    class Thing:
        pass

    @task
    async def make(x: Thing) -> Thing:
        return Thing()

    argument = Thing()
    results = await read(make, [argument])
    refs = [weakref.ref(argument), weakref.ref(results[0])]
    del argument, results
    await asyncio.sleep(0)
    assert [ref() for ref in refs] == [None, None]


async def test_nothing_keeps_a_result_while_the_consumer_pauses() -> None:
    class Thing:
        pass

    async def make(x: int) -> Thing:
        return Thing()

    async with contextlib.aclosing(aiter_tasks(make, range(2))) as results:
        ref = weakref.ref(await anext(results))
        assert ref() is None


async def test_errors_are_kept_by_nobody() -> None:
    class Thing:
        pass

    @task
    async def fail(x: Thing) -> None:
        raise TheirError

    gc.collect()
    gc.disable()
    try:
        argument = Thing()
        ref = weakref.ref(argument)
        with contextlib.suppress(TheirError):
            await gather_tasks(fail, [argument])
        del argument
        await asyncio.sleep(0)
        assert ref() is None
    finally:
        gc.enable()


# Context and hooks


@async_kinds
@both
async def test_each_item_has_a_life_an_index_a_name_and_a_parent(kind: Kind, read: Any) -> None:
    hooks = RecordingHooks()
    seen = {}

    async def body(x: int) -> int:
        call = current_task()
        assert call is not None
        seen[call.map_index] = (call.name, call.id, call.parent_id, call.session_id, call.backend)
        await asyncio.sleep(0)
        return x

    @task
    async def outer() -> Any:
        call = current_task()
        assert call is not None
        await read(make(kind, body), "abc")
        assert current_task() is call
        return call.id

    async with session(plugins=[hooks]) as around:
        parent = await outer()
        assert {index: (name, *rest) for index, (name, _, *rest) in seen.items()} == {
            index: (f"body[{index}]", parent, around.session_id, "inline") for index in range(3)
        }
    hooks.verify()
    calls = [call for call in hooks.calls() if call[0].metadata.map_index is not None]
    assert {call[0].metadata.id for call in calls} == {seen[index][1] for index in range(3)}
    streamed = ["node_iteration"] * 2 if kind.is_stream else []
    assert [[event.hook for event in call] for call in calls] == [
        ["before_node_execute", *streamed, "after_node_execute"]
    ] * 3


@async_kinds
@both
async def test_context_variables_of_items_stay_theirs(kind: Kind, read: Any) -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    variable.set("caller")
    seen = []

    async def body(x: int) -> str:
        seen.append(variable.get())
        variable.set(f"item {x}")
        await asyncio.sleep(0)
        return variable.get()

    def items() -> Iterator[int]:
        for each in range(3):
            variable.set("iterable")
            yield each

    results = await read(make(kind, body), items(), limit=1)
    assert results == [result_of(kind, f"item {each}") for each in range(3)]
    assert seen == ["caller"] * 3
    assert variable.get() == "caller"


@both
async def test_retries_and_the_clock_of_the_session_hold_for_items(read: Any) -> None:
    clock, hooks = instant_clock(), RecordingHooks()

    @task(retries=2)
    async def flaky(x: int) -> int:
        call = current_task()
        assert call is not None
        if call.attempt <= x:
            raise TheirError
        return call.attempt

    async with session(clock=clock, plugins=[hooks]):
        assert sorted(await read(flaky, [0, 1, 2])) == [1, 2, 3]
    hooks.verify()


@both
async def test_a_timeout_is_that_of_one_item(read: Any) -> None:
    @task(timeout=0.01)
    async def wait(x: int) -> int:
        await asyncio.Event().wait() if x == 1 else None
        return x

    found = await read(wait, range(3), errors="return")
    assert sorted(str(type(each).__name__) for each in found) == ["TaskTimeoutError", "int", "int"]
    assert not others()


async def test_cached_items_are_found(tmp_path: Any) -> None:
    ran = []

    @task(cache=tmp_path, cache_version="1")
    async def square(x: int) -> int:
        ran.append(x)
        return x * x

    assert await gather_tasks(square, [1, 2]) == [1, 4]
    assert await gather_tasks(square, [1, 2, 3]) == [1, 4, 9]
    assert sorted(ran) == [1, 2, 3]


@both
async def test_maps_nest(read: Any) -> None:
    @task
    async def inner(x: int) -> tuple[int | None, int]:
        call = current_task()
        assert call is not None
        return call.map_index, x

    @task
    async def outer(x: int) -> list[Any]:
        return await gather_tasks(inner, [x, x + 1])

    assert sorted(await read(outer, [0, 10], limit=1)) == [[(0, 0), (1, 1)], [(0, 10), (1, 11)]]


# Errors


@async_kinds
@both
async def test_the_first_error_by_time_ends_the_map(kind: Kind, read: Any) -> None:
    items, hooks = Items(), RecordingHooks()

    async def body(x: int) -> int:
        await items(x)
        if x in (2, 4):
            raise TheirError(x)
        return x

    async with session(plugins=[hooks]):
        running = asyncio.create_task(read(make(kind, body), itertools.count(), limit=6))
        await items.until(lambda: len(items.begun) == 6)
        items.let_go(4)
        await items.until(lambda: 4 in items.ended)
        items.let_go(2)
        with pytest.raises(TheirError) as caught:
            await running
    assert caught.value.args == (4,)
    assert any(note.startswith("eagerly: raised for item 4 of a map: 4") for note in caught.value.__notes__)
    assert items.now == 0
    assert not others()
    hooks.verify()
    ends = [call[-1].hook for call in hooks.calls()]
    assert ends.count("on_node_error") in (1, 2)  # the other one may get there before it is cancelled
    assert ends.count("on_node_cancel") >= 4


@async_kinds
@in_order
async def test_errors_are_returned_or_left_out(kind: Kind, read: Any) -> None:
    async def body(x: int) -> int:
        if x % 2:
            raise TheirError(x)
        return x

    found = await read(make(kind, body), range(5), errors="return")
    assert [each.args if isinstance(each, TheirError) else each for each in found] == [
        (each,) if each % 2 else result_of(kind, each) for each in range(5)
    ]
    assert all(any("item" in note for note in each.__notes__) for each in found if isinstance(each, TheirError))
    assert await read(make(kind, body), range(5), errors="skip") == [result_of(kind, each) for each in (0, 2, 4)]


@both
@pytest.mark.parametrize("errors", ["return", "skip"])
async def test_wrong_arguments_are_an_error_of_the_item(read: Any, errors: Any) -> None:
    @task
    async def one(x: int) -> int:
        return x

    with pytest.raises(TypeError):
        await read(one, [1], [2])
    found = await read(one, [1], [2], errors=errors)
    assert [type(each) for each in found] == ([TypeError] if errors == "return" else [])


@both
@pytest.mark.parametrize("source", ["sync", "async", "mixed"])
async def test_what_the_iterable_raises_is_raised_when_the_items_have_ended(read: Any, source: str) -> None:
    ended = []

    @task
    async def body(*args: int) -> None:
        await asyncio.sleep(0)
        ended.append(args[0])

    def broken() -> Iterator[int]:
        yield from range(3)
        raise TheirError("items")

    async def broken_async() -> AsyncIterator[int]:
        for each in broken():
            yield each

    sources: dict[str, Any] = {
        "sync": [broken()],
        "async": [broken_async()],
        "mixed": [broken_async(), itertools.count()],
    }
    with pytest.raises(TheirError, match="items"):
        await read(body, *sources[source])
    assert ended == [0, 1, 2]
    assert not others()


@both
@pytest.mark.parametrize("errors", ["raise", "return", "skip"])
async def test_an_item_that_is_cancelled_has_failed(read: Any, errors: Any) -> None:
    @task
    async def body(x: int) -> int:
        if x == 1:
            asyncio.current_task().cancel("by itself")  # type: ignore[union-attr]
        await asyncio.sleep(0)
        return x

    hooks = RecordingHooks()
    async with session(plugins=[hooks]):
        if errors == "raise":
            with pytest.raises(asyncio.CancelledError, match="by itself"):
                await read(body, range(3))
        else:
            found = await read(body, range(3), errors=errors)
            kinds = [type(each) for each in found]
            assert kinds.count(int) == 2
            assert kinds.count(asyncio.CancelledError) == (errors == "return")
    hooks.verify()
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0


class TheirEnd(BaseException):
    """Ends more than the task."""


@both
@pytest.mark.parametrize("errors", ["return", "skip"])
async def test_what_is_no_exception_is_never_kept_back(read: Any, errors: Any) -> None:
    @task
    async def body(x: int) -> None:
        await asyncio.sleep(0)
        if x == 1:
            raise TheirEnd
        await asyncio.Event().wait()

    with pytest.raises(TheirEnd):
        await read(body, range(3), errors=errors)
    assert not others()


@pytest.mark.parametrize("what", ["KeyboardInterrupt", "SystemExit(3)"])
@pytest.mark.parametrize("errors", ["raise", "return"])
def test_what_ends_programs_ends_the_map(what: str, errors: str) -> None:
    script = f"""
    import asyncio
    from eagerly import gather_tasks, task

    @task
    async def body(x):
        try:
            await asyncio.sleep(0)
            if x == 1:
                raise {what}
            await asyncio.Event().wait()
        finally:
            print("ended", x)

    asyncio.run(gather_tasks(body, range(3), errors={errors!r}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert sorted(done.stdout.splitlines()) == ["ended 0", "ended 1", "ended 2"]
    assert done.returncode == (3 if "3" in what else -2)
    assert done.stderr.count("Traceback") == (0 if "3" in what else 1)


# Cancellation of the whole


@async_kinds
@both
async def test_cancelling_the_map_cancels_all_and_waits_for_them(kind: Kind, read: Any) -> None:
    items, hooks = Items(), RecordingHooks()
    async with session(plugins=[hooks]):
        running = asyncio.create_task(read(make(kind, items), itertools.count(), limit=4))
        await items.until(lambda: len(items.begun) == 4)
        running.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await running
        assert sorted(items.cancelled) == [0, 1, 2, 3]
        assert not others()
    hooks.verify()
    assert [call[-1].hook for call in hooks.calls()] == ["on_node_cancel"] * 4


@both
async def test_a_timeout_around_the_map_ends_it(read: Any) -> None:
    items = Items()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await read(task(items), range(3))
    assert sorted(items.cancelled) == [0, 1, 2]


@both
async def test_items_know_that_they_are_to_stop(read: Any) -> None:
    told, begun = [], asyncio.Event()

    @task
    async def body(x: int) -> None:
        call = current_task()
        assert call is not None
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            told.append(call.should_stop())

    running = asyncio.create_task(read(body, [1]))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert told == [True]


@both
async def test_an_item_that_cleans_up_is_cancelled_once_and_again_only_if_the_map_is(read: Any) -> None:
    begun, cleaning, cleaned, interrupted = asyncio.Event(), asyncio.Event(), asyncio.Event(), []

    @task
    async def body(x: int) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            try:
                await cleaned.wait()
            except asyncio.CancelledError:
                interrupted.append(x)

    for again in (False, True):
        begun.clear()
        cleaning.clear()
        running = asyncio.create_task(read(body, [again]))
        await begun.wait()
        running.cancel()
        await cleaning.wait()
        assert not running.done()
        if again:
            running.cancel()
        else:
            cleaned.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not others()
        cleaned.clear()
    assert interrupted == [True]


@both
async def test_an_error_elsewhere_cancels_an_item_once(read: Any) -> None:
    ended = []

    @task
    async def body(x: int) -> None:
        if x == 0:
            await asyncio.sleep(0)
            raise TheirError
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append(x)

    with pytest.raises(TheirError):
        await read(body, range(2))
    assert ended == [1]


async def test_a_cancelled_map_whose_error_is_on_its_way_is_cancelled() -> None:
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    @task
    async def body(x: int) -> None:
        if x == 0:
            await asyncio.sleep(0)
            raise TheirError
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            with contextlib.suppress(asyncio.CancelledError):
                await cleaned.wait()

    running = asyncio.create_task(gather_tasks(body, range(2)))
    await cleaning.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    assert isinstance(caught.value.__context__, TheirError)


@both
async def test_a_source_that_never_gives_anything_does_not_hold_up_the_end(read: Any) -> None:
    waiting, ended = asyncio.Event(), []

    async def source() -> AsyncIterator[int]:
        yield 1
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            ended.append("source")

    @task
    async def body(x: int) -> None:
        await waiting.wait()
        raise TheirError

    with pytest.raises(TheirError):
        await read(body, source())
    assert ended == ["source"]
    assert not others()


# Consumers that stop early


async def test_closing_waits_for_what_runs() -> None:
    items = Items()
    items.let_go(0)
    async with contextlib.aclosing(aiter_tasks(task(items), itertools.count(), limit=3)) as results:
        async for result in results:
            assert result == 0
            break
        await items.until(lambda: len(items.begun) == 4)
    assert sorted(items.cancelled) == [1, 2, 3]
    assert not others()


async def test_who_stops_reading_stops_the_map_even_without_a_word() -> None:
    items = Items()
    items.let_go(0)
    async for result in aiter_tasks(task(items), itertools.count(), limit=3):
        assert result == 0
        break
    gc.collect()
    await items.until(lambda: items.now == 0)
    while others():
        await asyncio.sleep(0)
    assert sorted(items.begun) == sorted([0, *items.cancelled])


async def test_nothing_runs_before_the_first_result_is_asked_for() -> None:
    items = Items()
    results = aiter_tasks(task(items), [1])
    await asyncio.sleep(0)
    assert items.begun == []
    await results.aclose()


async def test_items_go_on_while_the_consumer_is_busy() -> None:
    items = Items()
    items.let_go(*range(100))
    async with contextlib.aclosing(aiter_tasks(task(items), itertools.count(), limit=2, window=10)) as results:
        assert await anext(results) == 0
        await items.until(lambda: len(items.ended) == 11)


# Sessions


async def test_leaving_the_session_ends_maps_that_nobody_has_read() -> None:
    items, hooks = Items(), RecordingHooks()
    items.let_go(0)
    async with session(plugins=[hooks]):
        results = aiter_tasks(task(items), itertools.count(), limit=3)
        await anext(results)
    assert items.now == 0
    hooks.verify()
    assert hooks.names()[-1] == "after_session_end"
    with pytest.raises(SessionError, match="before the map of task"):
        await anext(results)
    assert not others()


async def test_a_session_that_cannot_wait_still_ends_them() -> None:
    items, hooks = Items(), RecordingHooks()
    items.let_go(0)
    with session(plugins=[hooks]):
        results = aiter_tasks(task(items), itertools.count(), limit=3)
        await anext(results)
    with pytest.raises(SessionError, match="before the map of task"):
        await anext(results)
    assert items.now == 0
    hooks.verify()


async def test_a_gathering_in_the_background_ends_with_its_session() -> None:
    items = Items()
    async with session():
        running = asyncio.create_task(gather_tasks(task(items), range(3)))
        await items.until(lambda: len(items.begun) == 3)
    with pytest.raises(SessionError):
        await running
    assert sorted(items.cancelled) == [0, 1, 2]


async def test_a_session_may_be_left_in_another_thread() -> None:
    items = Items()
    opened = session()
    opened.__enter__()
    running = asyncio.create_task(gather_tasks(task(items), range(3)))
    await items.until(lambda: len(items.begun) == 3)
    await asyncio.to_thread(opened.__exit__, None, None, None)
    with pytest.raises(SessionError):
        await running
    assert sorted(items.cancelled) == [0, 1, 2]
    assert current_session() is None


async def test_a_session_left_when_the_loop_is_gone() -> None:
    items = Items()

    async def begin() -> Any:
        results = aiter_tasks(task(body), itertools.count())
        await anext(results)
        return results

    async def body(x: int) -> int:
        return x

    def run() -> None:
        with session():
            asyncio.run(begin())

    await asyncio.to_thread(run)
    assert items.now == 0


@both
async def test_a_map_in_an_item_that_is_to_stop_stops(read: Any) -> None:
    """Where nobody can cancel the loop: on a worker of another map."""

    @task
    async def inner(x: int) -> None:
        await asyncio.sleep(0)

    @task
    async def outer(x: int) -> None:
        if x == 0:
            raise TheirError
        await read(inner, itertools.count(), limit=2)

    def run() -> None:
        with pytest.raises(TheirError):
            map_tasks(outer, [1, 0], backend="thread")

    await asyncio.to_thread(run)


# Mistakes


@pytest.mark.parametrize("where", [gather_tasks, aiter_tasks], ids=["gather_tasks", "aiter_tasks"])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ((5,), {}, OptionTypeError, "takes the task first"),
        ((), {}, OptionTypeError, "takes an iterable for each parameter"),
        (([1], 5), {}, OptionTypeError, r"argument 2 is no iterable but 5.*itertools\.repeat\(5\)"),
        (([1], [1, 2]), {}, OptionValueError, "have 1, 2 items"),
        (([1],), {"limit": 0}, OptionValueError, r"\(limit=...\) must be 1 or more"),
        (([1],), {"limit": True}, OptionTypeError, r"\(limit=...\) takes a number of items or None"),
        (([1],), {"limit": "all"}, OptionTypeError, r"\(limit=...\) takes a number of items or None"),
        (([1],), {"errors": "retrun"}, OptionValueError, "did you mean 'return'"),
        (([1],), {"progress": 5}, OptionTypeError, "takes True, False or a label"),
    ],
)
async def test_mistakes_are_told_before_anything_runs(
    where: Any, arguments: Any, options: Any, error: type[Exception], says: str
) -> None:
    first = [task(Items())] if arguments != (5,) else []
    with pytest.raises(error, match=f"^{where.__name__}.*{says}"):
        made = where(*first, *arguments, **options)
        if where is gather_tasks:
            await made


@pytest.mark.parametrize("options", [{"window": 0}, {"ordered": 1}])
def test_mistakes_with_what_only_aiter_tasks_takes(options: Any) -> None:
    async def body(x: int) -> None: ...

    with pytest.raises((OptionTypeError, OptionValueError), match=r"^aiter_tasks\("):
        aiter_tasks(body, [1], **options)


@pytest.mark.parametrize("kind", [Kind.SYNC, Kind.STREAM])
async def test_sync_tasks_are_refused_with_what_to_write(kind: Kind) -> None:
    def body(x: int) -> None: ...

    says = r"takes async tasks, and task 'body' is not: .*write await asyncio\.to_thread\(map_tasks, body, \.\.\.\)"
    with pytest.raises(OptionTypeError, match=f"^gather_tasks.*{says}"):
        await gather_tasks(kind.make(body), [1])
    with pytest.raises(OptionTypeError, match=f"^aiter_tasks.*{says}"):
        aiter_tasks(kind.make(body), [1])
    assert await asyncio.to_thread(map_tasks, kind.make(body), [1]) in ([None], [[None]])


async def test_the_call_that_sync_maps_advise_works() -> None:
    async def double(x: int) -> int:
        return 2 * x

    for where in (map_tasks, iter_tasks):
        with pytest.raises(Exception, match=r"gather_tasks|aiter_tasks"):
            where(double, [1])
    with pytest.raises(OptionTypeError, match="gather_tasks"):
        map_tasks(double, count_to(2))
    assert await gather_tasks(double, count_to(2)) == [0, 2]


# Loops of other kinds


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks since Python 3.12")
@both
@async_kinds
async def test_eager_tasks(kind: Kind, read: Any) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    hooks = RecordingHooks()

    async def body(x: int) -> int:
        if x == 7:
            raise TheirError
        if x % 2:
            await asyncio.sleep(0)
        return x

    async with session(plugins=[hooks], settings=Settings(strict_hooks=True)):
        found = await read(make(kind, body), range(7), limit=2)
        with pytest.raises(TheirError):
            await read(make(kind, body), itertools.count())
    assert sorted(found) == [result_of(kind, each) for each in range(7)]
    hooks.verify()
    assert not others()


async def test_debug_mode_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.get_running_loop().set_debug(True)

    async def body(x: int) -> int:
        if x == 3:
            raise TheirError
        await asyncio.sleep(0)
        return x

    with pytest.raises(TheirError):
        await gather_tasks(body, range(10))
    gc.collect()
    assert [record.getMessage() for record in caplog.records if "never" in record.getMessage()] == []
