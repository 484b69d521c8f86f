"""Rule 6 for streams: how they are closed, dropped and handed about, and in whose context each step runs.

That `send`, `throw`, `close` and return values are those of the undecorated generator: see test_stream_parity.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from eagerly import current_session, current_task, session, task
from eagerly.testing import RecordingHooks
from kinds import TheirError, drive


@pytest.fixture
def hooks():
    """Recording hooks of a session around the test; in the end every start must have had its ending."""
    recording = RecordingHooks()
    with session(plugins=[recording]):
        yield recording
    gc.collect()
    recording.verify()


def endings(hooks: RecordingHooks, name: str) -> list[str]:
    """How the calls of task `name` ended: the hook, for a cancellation its reason."""
    found = []
    for event in hooks.of(name):
        if event.hook == "on_node_cancel":
            found.append(event.reason)
        elif event.hook in ("after_node_execute", "on_node_error"):
            found.append(event.hook)
    return found


class Witness:
    """A stream's body that notes on whose behalf each part of it ran."""

    def __init__(self):
        self.seen = []
        self.threads = []

    def look(self):
        call = current_task()
        self.seen.append(None if call is None else call.name)
        self.threads.append(threading.get_ident())

    def stream(self, items=10):
        try:
            for item in range(items):
                self.look()
                yield item
        finally:
            self.look()

    async def async_stream(self, items=10):
        try:
            for item in range(items):
                await asyncio.sleep(0)
                self.look()
                yield item
        finally:
            self.look()

    async def async_stream_that_waits_for_nothing(self, items=10):
        try:
            for item in range(items):
                self.look()
                yield item
        finally:
            self.look()


@pytest.fixture
def witness():
    return Witness()


# How a stream ends


def test_a_stream_that_is_never_started_fires_nothing(hooks, witness):
    stream = task(witness.stream)()
    stream.close()
    del stream
    unstarted = task(witness.stream)()
    del unstarted

    assert hooks.names("stream") == []
    assert witness.seen == []


async def test_an_async_stream_that_is_never_started_fires_nothing(hooks, witness):
    stream = task(witness.async_stream)()
    await stream.aclose()
    unstarted = task(witness.async_stream)()
    del unstarted

    assert hooks.names("async_stream") == []
    assert witness.seen == []


def test_an_exhausted_stream_has_succeeded(hooks, witness):
    assert list(task(witness.stream)(2)) == [0, 1]

    assert hooks.names("stream") == ["before_node_execute", "node_iteration", "node_iteration", "after_node_execute"]
    assert hooks.events[-1].result is None
    assert set(witness.seen) == {"stream"}


async def test_an_exhausted_async_stream_has_succeeded(hooks, witness):
    assert [item async for item in task(witness.async_stream)(2)] == [0, 1]

    assert endings(hooks, "async_stream") == ["after_node_execute"]
    assert set(witness.seen) == {"async_stream"}


def test_close_ends_a_stream_once(hooks, witness):
    stream = task(witness.stream)()
    next(stream)
    stream.close()
    stream.close()

    assert endings(hooks, "stream") == ["closed"]
    assert witness.seen == ["stream", "stream"]
    assert list(stream) == []


async def test_aclose_ends_an_async_stream_once(hooks, witness):
    stream = task(witness.async_stream)()
    await anext(stream)
    await stream.aclose()
    await stream.aclose()

    assert endings(hooks, "async_stream") == ["closed"]
    assert witness.seen == ["async_stream", "async_stream"]


def test_close_after_the_end_changes_nothing(hooks, witness):
    stream = task(witness.stream)(1)
    list(stream)
    stream.close()

    assert endings(hooks, "stream") == ["after_node_execute"]


def test_break_ends_a_stream(hooks, witness):
    for _ in task(witness.stream)():
        break

    assert endings(hooks, "stream") == ["closed"]


def test_an_exception_in_the_consumer_ends_a_stream(hooks, witness):
    with pytest.raises(TheirError):
        for _ in task(witness.stream)():
            raise TheirError

    assert endings(hooks, "stream") == ["closed"]
    assert current_task() is None


def test_an_exception_thrown_in_is_the_streams_failure(hooks, witness):
    stream = task(witness.stream)()
    next(stream)
    error = TheirError()
    with pytest.raises(TheirError) as info:
        stream.throw(error)

    assert info.value is error
    assert hooks.of("stream")[-1].error is error


def test_a_stream_that_cleans_up_by_catching_generator_exit_was_closed(hooks):
    @task
    def tidy():
        try:
            yield 1
        except GeneratorExit:
            return "tidied"

    stream = tidy()
    next(stream)
    returned = stream.close()

    assert returned == ("tidied" if sys.version_info >= (3, 13) else None)
    assert endings(hooks, "tidy") == ["closed"]


async def test_an_async_stream_that_cleans_up_by_catching_generator_exit_was_closed(hooks):
    @task
    async def tidy():
        try:
            yield 1
        except GeneratorExit:
            return

    stream = tidy()
    await anext(stream)
    await stream.aclose()

    assert endings(hooks, "tidy") == ["closed"]


def test_an_error_while_being_closed_is_the_streams_failure(hooks):
    @task
    def untidy():
        try:
            yield 1
        finally:
            raise TheirError

    stream = untidy()
    next(stream)
    with pytest.raises(TheirError):
        stream.close()

    assert endings(hooks, "untidy") == ["on_node_error"]


def test_a_stream_that_ignores_being_closed(hooks):
    @task
    def stubborn():
        for item in range(3):
            try:
                yield item
            except GeneratorExit:
                continue

    stream = stubborn()
    next(stream)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        stream.close()
    assert endings(hooks, "stubborn") == []  # it goes on
    assert list(stream) == [2]

    assert len(endings(hooks, "stubborn")) == 1


def test_a_stream_that_yields_in_its_finally(hooks):
    @task
    def farewell():
        try:
            yield "item"
        finally:
            yield "farewell"

    stream = farewell()
    next(stream)
    with pytest.raises(TheirError):
        assert stream.throw(TheirError()) == "farewell"
        next(stream)

    assert endings(hooks, "farewell") == ["on_node_error"]


def test_a_stream_that_is_used_in_its_own_body(hooks):
    @task
    def reentrant():
        with pytest.raises(ValueError, match="generator already executing"):
            next(stream)
        yield "fine"

    stream = reentrant()
    assert list(stream) == ["fine"]
    assert endings(hooks, "reentrant") == ["after_node_execute"]


# Dropped and collected


def test_dropping_a_half_consumed_stream_closes_it(hooks, witness):
    stream = task(witness.stream)()
    next(stream)
    del stream

    assert endings(hooks, "stream") == ["closed"]
    assert witness.seen == ["stream", "stream"]
    assert current_task() is None


@pytest.mark.parametrize("by", ["last reference", "garbage collector"])
def test_a_stream_may_be_cleared_away_in_another_thread(hooks, witness, by):
    box = [task(witness.stream)()]
    next(box[0])
    if by == "garbage collector":
        box.append(box)
    holder = [box]
    del box
    in_thread = []

    def drop():
        in_thread.append(current_task())
        holder.clear()
        gc.collect()
        in_thread.append(current_task())

    gc.disable()
    try:
        thread = threading.Thread(target=drop)
        thread.start()
        thread.join()
    finally:
        gc.enable()

    assert in_thread == [None, None]
    assert witness.seen == ["stream", "stream"]
    assert witness.threads == [threading.get_ident(), thread.ident]
    assert endings(hooks, "stream") == ["closed"]


def test_a_stream_may_be_cleared_away_during_another_call(hooks, witness):
    seen = []

    @task
    def other(box):
        box.clear()
        seen.append(current_task().name)

    stream = task(witness.stream)()
    next(stream)
    box = [stream]
    del stream
    other(box)

    assert seen == ["other"]
    assert witness.seen == ["stream", "stream"]
    assert endings(hooks, "stream") == ["closed"]


async def test_an_abandoned_async_for_is_closed_by_its_loop(hooks, witness):
    async def consume():
        async for _ in task(witness.async_stream)():
            break

    await consume()
    for _ in range(5):
        await asyncio.sleep(0)

    assert endings(hooks, "async_stream") == ["closed"]
    assert witness.seen == ["async_stream", "async_stream"]
    assert current_task() is None


def test_an_async_stream_still_referenced_when_its_loop_ends(hooks, capsys, caplog):
    seen = []
    kept = []

    @task
    async def patient():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append(current_task().name)

    async def main():
        stream = patient()
        kept.append(stream)
        await anext(stream)

    for _ in range(5):
        asyncio.run(main())

    assert seen == ["patient"] * 5
    assert endings(hooks, "patient") == ["closed"] * 5
    assert caplog.text == ""


def test_an_async_stream_that_no_loop_can_close_any_more(hooks):
    """Dropped after its loop is gone: Python never resumes it, and its call ends all the same."""
    cleaned = []

    @task
    async def forgotten():
        try:
            yield 1
        finally:
            cleaned.append(1)

    async def start():
        stream = forgotten()
        await anext(stream)
        return stream

    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(start())
    loop.close()
    del stream
    gc.collect()

    assert endings(hooks, "forgotten") == ["closed"]
    assert current_task() is None


def test_an_async_stream_that_never_had_a_loop(hooks, witness):
    async def start():
        stream = task(witness.async_stream_that_waits_for_nothing)()
        await anext(stream)
        return stream

    stream = drive(start())
    assert current_task() is None
    del stream
    gc.collect()

    assert endings(hooks, "async_stream_that_waits_for_nothing") == ["closed"]
    assert witness.seen == ["async_stream_that_waits_for_nothing"] * 2


async def test_waiting_for_an_item_with_a_timeout(hooks):
    seen = []

    @task
    async def slow():
        yield "at once"
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(current_task().name)
        yield "never"

    stream = slow()
    assert await asyncio.wait_for(anext(stream), 60) == "at once"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)

    assert seen == ["slow"]
    assert endings(hooks, "slow") == ["cancelled"]
    assert current_task() is None
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_impatient_consumer_that_shields_the_step_can_go_on(hooks):
    release = asyncio.Event()

    @task
    async def slow():
        await release.wait()
        yield current_task().name

    stream = slow()
    step = asyncio.ensure_future(anext(stream))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(step), 0.01)
    assert current_task() is None
    release.set()

    assert await step == "slow"
    await stream.aclose()


# Whose context


def test_interleaved_streams_each_see_themselves(hooks):
    @task(name="{label}")
    def stream(label):
        for _ in range(3):
            yield current_task().name, current_task().parent

    first, second, third = stream("first"), stream("second"), stream("third")
    order = [first, second, first, third, third, second, first, second, third]

    assert [next(one)[0] for one in order] == [
        *("first", "second", "first", "third", "third", "second", "first", "second", "third"),
    ]
    assert current_task() is None


def test_a_stream_advanced_in_another_task_does_not_become_its_child(hooks):
    """Its parent is who called it, and who advances it sees nothing of it."""

    @task
    def numbers():
        while True:
            yield current_task().parent

    @task
    def advance(stream):
        return next(stream), current_task().name

    @task
    def creator():
        stream = numbers()
        parent = next(stream)
        return stream, parent.name

    stream, parent = creator()
    assert parent == "creator"
    outer, advancing = advance(stream)
    assert (outer.name, advancing) == ("creator", "advance")
    stream.close()


def test_streams_that_consume_streams(hooks):
    @task
    def inner():
        for _ in range(2):
            yield [current_task().name, current_task().parent.name]

    @task
    def outer():
        for seen in inner():
            yield [*seen, current_task().name]

    @task
    def delegating():
        yield from inner()
        yield current_task().name

    assert list(outer()) == [["inner", "outer", "outer"]] * 2
    assert list(delegating()) == [["inner", "delegating"], ["inner", "delegating"], "delegating"]


def test_a_stream_handed_from_thread_to_thread(hooks, witness):
    stream = task(witness.stream)(6)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:

        def step():
            before = current_task()
            return next(stream), before, current_task()

        steps = [pool.submit(step).result() for pool in (one, other) * 3]
        assert [pool.submit(list, stream).result() for pool in (one, other)] == [[], []]

    assert steps == [(item, None, None) for item in range(6)]
    assert witness.seen == ["stream"] * 7
    assert len(set(witness.threads)) == 2
    assert endings(hooks, "stream") == ["after_node_execute"]
    assert current_task() is None


async def test_a_stream_advanced_with_to_thread(hooks, witness):
    stream = task(witness.stream)(3)

    assert [await asyncio.to_thread(next, stream) for _ in range(3)] == [0, 1, 2]
    stream.close()

    assert set(witness.seen) == {"stream"}


def test_a_stream_advanced_in_other_contexts(hooks, witness):
    stream = task(witness.stream)()
    contexts = [contextvars.copy_context() for _ in range(3)]
    for context in contexts:
        context.run(next, stream)
        assert context.run(current_task) is None
    contexts[0].run(stream.close)

    assert [context.run(current_task) for context in contexts] == [None] * 3
    assert endings(hooks, "stream") == ["closed"]


async def test_an_async_stream_handed_from_task_to_task(hooks, witness):
    stream = task(witness.async_stream)(6)

    async def step():
        before = current_task()
        return await anext(stream), before, current_task()

    assert [await asyncio.create_task(step()) for _ in range(6)] == [(item, None, None) for item in range(6)]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)

    assert witness.seen == ["async_stream"] * 7


async def test_two_tasks_that_ask_for_an_item_at_once(hooks):
    """As for the undecorated async generator: one gets it, the other an error, and the stream goes on."""
    release = asyncio.Event()

    @task
    async def slow():
        await release.wait()
        yield "item"
        yield "another"

    stream = slow()
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="asynchronous generator is already running"):
        await anext(stream)
    release.set()

    assert await first == "item"
    assert await anext(stream) == "another"
    await stream.aclose()


def test_a_session_that_the_body_holds_open_is_its_own():
    @task
    def holding():
        with session() as own:
            for _ in range(3):
                yield current_session() is own, current_task().name
        yield current_session(), current_task().name

    with session() as outer:
        stream = holding()
        for _ in range(3):
            assert next(stream) == (True, "holding")
            assert current_session() is outer
        assert next(stream) == (outer, "holding")
        stream.close()


async def test_a_session_that_an_async_body_holds_open_is_its_own():
    @task
    async def holding():
        async with session() as own:
            for _ in range(3):
                yield current_session() is own, current_task().name
        yield current_session(), current_task().name

    async with session() as outer:
        stream = holding()
        for _ in range(3):
            assert await asyncio.create_task(anext(stream)) == (True, "holding")
            assert current_session() is outer
        assert await anext(stream) == (outer, "holding")
        await stream.aclose()


@pytest.mark.parametrize("started", [False, True])
def test_a_stream_consumed_after_its_session_was_left(witness, started):
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        stream = task(witness.stream)(3)
        items = [next(stream)] if started else []
    items += stream

    assert items == [0, 1, 2]
    assert current_task() is None
    assert current_session() is None
    hooks.verify()


@pytest.mark.parametrize("started", [False, True])
async def test_an_async_stream_consumed_after_its_session_was_left(witness, started):
    hooks = RecordingHooks()
    async with session(plugins=[hooks]):
        stream = task(witness.async_stream)(3)
        items = [await anext(stream)] if started else []
    items += [item async for item in stream]

    assert items == [0, 1, 2]
    assert current_session() is None
    hooks.verify()


def test_a_body_whose_session_was_left_sees_the_one_around_it():
    @task
    def looking():
        while True:
            yield current_session()

    with session() as outer:
        with session() as inner:
            stream = looking()
            assert next(stream) is inner
        assert next(stream) is outer
    assert next(stream) is None
    stream.close()


def test_a_context_variable_of_the_user_behaves_as_in_the_undecorated_generator():
    variable = contextvars.ContextVar("variable", default="unset")

    def setting():
        variable.set("set by the body")
        yield variable.get()
        yield variable.get()

    def observe(function):
        stream = function()
        observed = [next(stream), variable.get()]
        variable.set("set by the consumer")
        return [*observed, next(stream)]

    assert contextvars.copy_context().run(observe, task(setting)) == contextvars.copy_context().run(observe, setting)
