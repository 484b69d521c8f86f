"""Rules 6 and 9: the call is current exactly while user code runs on its behalf, in any mixture of kinds."""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from eagerly import ContextExecutor, current_session, current_task, session, task
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, TheirError, all_kinds, async_kinds, drive


def chain() -> list[str]:
    """The names of the current call and those around it, innermost first."""
    names = []
    call = current_task()
    while call is not None:
        names.append(call.name)
        call = call.parent
    return names


@all_kinds
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "session"])
def test_the_call_is_current_in_its_body_and_nowhere_else(kind, inside):
    def body():
        call = current_task()
        return call.name, call.attempt, call.session, call.parent, call.metadata.is_generator

    looking = kind.make(body, name="looking")
    assert current_task() is None
    if inside:
        with session() as here:
            assert kind.run(looking) == ("looking", 1, here, None, kind.is_stream)
            assert current_task() is None
            assert current_session() is here
    else:
        assert kind.run(looking) == ("looking", 1, None, None, kind.is_stream)
    assert current_task() is None
    assert current_session() is None


@all_kinds
@pytest.mark.parametrize("error", [TheirError, KeyboardInterrupt], ids=lambda cls: cls.__name__)
def test_nothing_is_current_after_a_failure(kind, error):
    def body():
        raise error

    def scene():
        with pytest.raises(error):
            kind.run(kind.make(body, retries=1))
        return current_task(), current_session()

    with session(clock=instant_clock()) as here:
        assert scene() == (None, here)


@all_kinds
def test_each_attempt_is_made_on_behalf_of_the_same_call(kind):
    seen = []

    def body():
        call = current_task()
        seen.append((call.attempt, call.id))
        if call.attempt < 3:
            raise TheirError

    with session(clock=instant_clock()):
        kind.run(kind.make(body, retries=5))

    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({identity for _, identity in seen}) == 1


@all_kinds
def test_a_call_knows_when_it_started(kind):
    before = datetime.now(UTC)
    call = kind.run(kind.make(current_task))
    started = call.timestamp
    assert before - timedelta(seconds=1) <= started <= datetime.now(UTC)  # wall clocks are set and stepped
    assert call.timestamp == started


@all_kinds
def test_nothing_is_current_while_waiting_for_the_next_attempt(kind):
    from eagerly import Clock

    seen = []

    async def async_sleep(_):
        seen.append(current_task())

    attempts = iter([TheirError()])

    def body():
        for error in attempts:
            raise error

    with session(clock=Clock(sleep=lambda _: seen.append(current_task()), async_sleep=async_sleep)):
        kind.run(kind.make(body, retries=1))

    assert seen == [None]


# Rule 9


@all_kinds
def test_outside_a_session_a_task_retries_and_nobody_listens(kind):
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        pass
    hooks.clear()
    attempts = []

    def body():
        attempts.append(current_session())
        if len(attempts) < 3:
            raise TheirError
        return "value"

    from eagerly import Retry

    assert kind.run(kind.make(body, retries=Retry(5, delay=0))) == "value"
    assert attempts == [None] * 3
    assert hooks.events == []


# Rule 10


@all_kinds
def test_a_call_without_listeners_computes_no_facts(kind):
    """Seen through what computing them would run: the arguments' own code."""

    class Telltale:
        def __format__(self, spec):
            raise AssertionError("the name was rendered")

        def __repr__(self):
            raise AssertionError("an argument was described")

        def __eq__(self, other):
            raise AssertionError("arguments were compared")

        __hash__ = None

    argument = Telltale()
    with session():
        assert kind.run(kind.make(lambda *_: "value", name="same"), argument) == "value"


# Tasks in tasks


@all_kinds
def test_recursion(kind):
    def body(depth):
        names.append(len(chain()))
        return depth if depth == 0 else inner(depth - 1)

    names = []
    inner = task(body, name="inner")

    assert kind.run(kind.make(body, name="outer"), 100) == 0
    assert names == list(range(1, 102))


async def test_deep_async_recursion():
    @task
    async def down(depth):
        await asyncio.sleep(0)
        return len(chain()) if depth == 0 else await down(depth - 1)

    assert await down(100) == 101
    assert current_task() is None


def test_deep_stream_recursion():
    @task
    def down(depth):
        yield len(chain())
        if depth:
            yield from down(depth - 1)

    assert list(down(100)) == list(range(1, 102))


@all_kinds
def test_recursion_without_end(kind):
    """Whatever the depth at which the interpreter gives up, each call that was started ends."""
    hooks = RecordingHooks()

    @task
    def bottomless():
        return bottomless()

    limit = sys.getrecursionlimit()
    with session(plugins=[hooks]), pytest.raises(RecursionError):
        kind.run(kind.make(lambda: bottomless()))

    assert sys.getrecursionlimit() == limit
    assert current_task() is None
    hooks.verify()


def test_every_colour_called_from_every_other_that_can():  # noqa: C901 - one function per pair
    seen = {}

    def note(label):
        seen[label] = chain()

    @task
    def sync_leaf(label):
        note(label)

    @task
    async def async_leaf(label):
        await asyncio.sleep(0)
        note(label)

    @task
    def stream_leaf(label):
        note(label)
        yield
        assert chain() == seen[label]

    @task
    async def async_stream_leaf(label):
        await asyncio.sleep(0)
        note(label)
        yield
        assert chain() == seen[label]

    async def call_all(label):
        sync_leaf(f"sync in {label}")
        await async_leaf(f"async in {label}")
        for _ in stream_leaf(f"stream in {label}"):
            assert current_task().name == label
        async for _ in async_stream_leaf(f"async stream in {label}"):
            assert current_task().name == label

    @task
    def sync():
        sync_leaf("sync in sync")
        for _ in stream_leaf("stream in sync"):
            assert current_task().name == "sync"
        asyncio.run(async_leaf("async in sync"))
        asyncio.run(Kind.ASYNC_STREAM.arun(async_stream_leaf, "async stream in sync"))

    @task
    async def asynchronous():
        await call_all("asynchronous")

    @task
    def stream():
        sync_leaf("sync in stream")
        for _ in stream_leaf("stream in stream"):
            yield
        assert current_task().name == "stream"

    @task
    async def async_stream():
        await call_all("async_stream")
        yield
        await call_all("async_stream")

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        Kind.SYNC.run(sync)
        Kind.ASYNC.run(asynchronous)
        Kind.STREAM.run(stream)
        Kind.ASYNC_STREAM.run(async_stream)

    hooks.verify()
    assert len(seen) == 4 + 4 + 2 + 4
    for label, names in seen.items():
        leaf, caller = label.split(" in ")
        assert names == [f"{leaf.replace(' ', '_')}_leaf", caller]
    assert current_task() is None


# Many at once


@async_kinds
async def test_a_thousand_concurrent_calls_each_see_themselves(kind):
    """Every call is suspended several times while all others run, and awakened in random order."""
    order = random.Random(20)
    events = [asyncio.Event() for _ in range(1_000)]

    async def check(number):
        for _ in range(3):
            await events[number].wait()
            await asyncio.sleep(0)
            assert current_task().name == f"call_{number}"
            assert (await inner(number)) == ["inner", f"call_{number}"]

    @task
    async def inner(number):
        await asyncio.sleep(0)
        return chain()

    if kind is Kind.ASYNC:

        @task(name="call_{number}")
        async def call(number):
            await check(number)
            return number

    else:

        @task(name="call_{number}")
        async def call(number):
            for _ in range(2):
                await check(number)
                yield number

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        running = [asyncio.create_task(kind.arun(call, number)) for number in range(1_000)]
        for event in order.sample(events, len(events)):
            event.set()
        assert await asyncio.gather(*running) == list(range(1_000))

    assert current_task() is None
    hooks.verify()


@all_kinds
def test_many_threads_each_see_themselves(kind):
    barrier = threading.Barrier(8, timeout=60)

    def body(number):
        barrier.wait(60)
        return chain(), number

    working = kind.make(body, name="working")
    hooks = RecordingHooks()
    with session(plugins=[hooks]) as here, ContextExecutor(ThreadPoolExecutor(8)) as pool:

        def work(number):
            assert current_session() is here
            result = kind.run(working, number)
            assert current_task() is None
            return result

        assert list(pool.map(work, range(80))) == [(["working"], number) for number in range(80)]

    hooks.verify()


@all_kinds
def test_a_bare_thread_is_outside(kind):
    """As for every context variable: a plain `threading.Thread` starts with an empty context."""
    seen = []
    asking = kind.make(lambda: (current_session(), chain()), name="asking")

    @task
    def outer():
        thread = threading.Thread(target=lambda: seen.append(kind.run(asking)))
        thread.start()
        thread.join()

    with session():
        outer()

    assert seen == [(None, ["asking"])]


@all_kinds
def test_a_copied_context_carries_the_call(kind):
    asking = kind.make(chain, name="asking")

    @task
    def outer():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(contextvars.copy_context().run, kind.run, asking).result()

    assert outer() == ["asking", "outer"]


async def test_a_task_of_a_thread_in_a_task_of_a_loop():
    leaf = task(chain, name="leaf")

    @task
    async def outer():
        return await asyncio.gather(*[asyncio.to_thread(leaf) for _ in range(20)])

    assert await outer() == [["leaf", "outer"]] * 20


async def test_what_a_task_leaves_running_still_belongs_to_it():
    """An asyncio task that outlives the call that made it keeps its context, as contextvars say."""
    release = asyncio.Event()

    async def later():
        await release.wait()
        return chain()

    @task
    async def outer():
        return asyncio.create_task(later())

    running = await outer()
    assert current_task() is None
    release.set()
    assert await running == ["outer"]


# Rule 6: on any thread, in any context


@types.coroutine
def suspend():
    yield


@pytest.mark.parametrize("ending", ["returns", "raises", "closed"])
def test_an_async_call_may_end_in_another_context_than_it_began_in(ending):
    async def body():
        await suspend()
        if ending == "raises":
            raise TheirError

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        call = task(body)()
        contextvars.copy_context().run(call.send, None)
        if ending == "closed":
            call.close()
        else:
            with pytest.raises(StopIteration if ending == "returns" else TheirError):
                call.send(None)
        assert current_task() is None
    hooks.verify()


@pytest.mark.parametrize("ending", ["yields", "returns", "raises"])
def test_an_item_of_an_async_stream_may_come_in_another_context_than_it_was_asked_for_in(ending):
    async def body():
        await suspend()
        if ending == "raises":
            raise TheirError
        if ending == "yields":
            yield 1

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        stream = task(body)()
        step = anext(stream)
        contextvars.copy_context().run(step.send, None)
        expected = {"yields": StopIteration, "returns": StopAsyncIteration, "raises": TheirError}[ending]
        with pytest.raises(expected):
            step.send(None)
        assert current_task() is None
        drive(stream.aclose())
    hooks.verify()
