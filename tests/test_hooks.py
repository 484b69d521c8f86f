"""The moments in the life of a call and of a session: which hook fires when, with which arguments."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from uuid import UUID

import pytest

from eagerly import Retry, current_session, current_task, hook_impl, session, task
from eagerly.hooks import EagerlySpec
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds, async_kinds, stream_kinds
from stored_calls import everything_is_stored, stores_in

WITH_A_REPORTER = {
    hook
    for hook, specified in vars(EagerlySpec).items()
    if not hook.startswith("_") and "reporter" in inspect.signature(specified).parameters
}

with_and_without_a_timeout = pytest.mark.parametrize(
    ("kind", "timeout"),
    [(kind, timeout) for kind in Kind for timeout in (None, 60) if timeout is None or not kind.is_stream],
)


def fails_first(times: int, clock=None):
    """A body that raises ConnectionError so many times, then returns its argument; each run takes a second."""
    errors = []

    def work(x=7):
        if clock is not None:
            clock.advance(1)
        if len(errors) < times:
            errors.append(ConnectionError(len(errors) + 1))
            raise errors[-1]
        return x

    work.errors = errors
    return work


def stream_of(kind, source, **options):
    """A stream task named ``count`` over what `source()` iterates over."""
    if kind is Kind.STREAM:

        @task(**options)
        def count():
            yield from source()

    else:

        @task(**options)
        async def count():
            for item in source():
                yield item

    return count


def listening(hooks, does):
    """A plugin whose `hooks` all do the same, without arguments."""
    return type("Listener", (), dict.fromkeys(hooks, hook_impl(lambda self: does())))()


def items_of(kind: Kind) -> list[str]:
    """What a stream of one item reports besides what the plain kinds do."""
    return ["node_iteration"] if kind.is_stream else []


@pytest.mark.usefixtures("eagerly_session")
class TestLifeOfACall:
    @all_kinds
    def test_success(self, kind, eagerly_hooks, eagerly_clock):
        body = fails_first(0, eagerly_clock)
        kind.run(kind.make(body), 3)
        start, *items, end = eagerly_hooks.of("work")
        assert [start.hook, *(item.hook for item in items), end.hook] == [
            "before_node_execute",
            *items_of(kind),
            "after_node_execute",
        ]
        assert end.result == (None if kind.is_stream else 3)
        assert end.duration == 1.0
        assert start.metadata.inputs == {"args": (3,), "kwargs": {}}
        assert (start.metadata.is_async, start.metadata.is_generator) == (kind.is_async, kind.is_stream)

    @all_kinds
    def test_failure(self, kind, eagerly_hooks, eagerly_clock):
        body = fails_first(1, eagerly_clock)
        with pytest.raises(ConnectionError) as caught:
            kind.run(kind.make(body))
        assert eagerly_hooks.names("work") == ["before_node_execute", "on_node_error"]
        end = eagerly_hooks.of("work")[-1]
        assert end.error is caught.value is body.errors[0]
        assert end.duration == 1.0

    @all_kinds
    def test_success_after_retries(self, kind, eagerly_hooks, eagerly_clock):
        body = fails_first(2, eagerly_clock)
        kind.run(kind.make(body, retries=Retry(3, delay=10, jitter=0)))
        assert eagerly_hooks.names("work") == [
            "before_node_execute",
            "before_node_retry",
            "after_node_retry",
            "before_node_retry",
            *items_of(kind),
            "after_node_execute",
            "after_node_retry",
        ]
        events = eagerly_hooks.of("work")
        announced = [event for event in events if event.hook == "before_node_retry"]
        assert [(event.attempt, event.error, event.delay) for event in announced] == [
            (2, body.errors[0], 10.0),
            (3, body.errors[1], 20.0),
        ]
        outcomes = [event for event in events if event.hook == "after_node_retry"]
        assert [(event.attempt, event.succeeded) for event in outcomes] == [(2, False), (3, True)]
        assert next(event for event in events if event.hook == "after_node_execute").duration == 33.0

    @all_kinds
    def test_exhaustion(self, kind, eagerly_hooks, eagerly_clock):
        body = fails_first(3, eagerly_clock)
        with pytest.raises(ConnectionError):
            kind.run(kind.make(body, retries=Retry(2, delay=10, jitter=0)))
        assert eagerly_hooks.names("work") == [
            "before_node_execute",
            "before_node_retry",
            "after_node_retry",
            "before_node_retry",
            "after_node_retry",
            "on_node_error",
        ]
        *_, outcome, end = eagerly_hooks.of("work")
        assert (outcome.attempt, outcome.succeeded) == (3, False)
        assert end.error is body.errors[2]
        assert end.duration == 33.0

    @stream_kinds
    def test_items_are_numbered_and_handed_over_as_they_are(self, kind, eagerly_hooks):
        things = [object(), None, ["an item"]]
        kind.run(stream_of(kind, lambda: things))
        iterations = [event for event in eagerly_hooks.of("count") if event.hook == "node_iteration"]
        assert [event.index for event in iterations] == [0, 1, 2]
        assert all(event.item is thing for event, thing in zip(iterations, things, strict=True))

    @stream_kinds
    def test_failure_after_an_item_of_a_retried_stream(self, kind, eagerly_hooks):
        attempts = []

        def fails_twice():
            attempts.append(1)
            if len(attempts) == 1:
                raise ConnectionError("before the first item")
            yield 1
            raise ConnectionError("after it")

        with pytest.raises(ConnectionError, match="after it"):
            kind.run(stream_of(kind, fails_twice, retries=5))
        assert eagerly_hooks.names("count") == [
            "before_node_execute",
            "before_node_retry",
            "node_iteration",
            "after_node_retry",
            "on_node_error",
        ]
        assert eagerly_hooks.of("count")[3].succeeded is False

    @stream_kinds
    def test_early_close(self, kind, eagerly_hooks, eagerly_clock):
        count = stream_of(kind, lambda: [1, 2, 3])

        def close_after_one():
            stream = count()
            assert next(stream) == 1
            eagerly_clock.advance(4)
            stream.close()

        async def aclose_after_one():
            stream = count()
            assert await anext(stream) == 1
            eagerly_clock.advance(4)
            await stream.aclose()

        if kind.is_async:
            asyncio.run(aclose_after_one())
        else:
            close_after_one()
        assert eagerly_hooks.names("count") == ["before_node_execute", "node_iteration", "on_node_cancel"]
        end = eagerly_hooks.of("count")[-1]
        assert (end.reason, end.duration) == ("closed", 4.0)

    @async_kinds
    def test_cancellation(self, kind, eagerly_hooks):
        async def main():
            running = asyncio.Event()

            async def waits():
                running.set()
                await asyncio.Event().wait()

            async def waits_in_a_stream():
                await waits()
                yield

            called = task(waits if kind is Kind.ASYNC else waits_in_a_stream, name="waits")
            waiting = asyncio.create_task(kind.arun(called))
            await running.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(main())
        assert eagerly_hooks.names("waits") == ["before_node_execute", "on_node_cancel"]
        assert eagerly_hooks.of("waits")[-1].reason == "cancelled"

    @all_kinds
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, type("Theirs", (BaseException,), {})])
    def test_interruption(self, kind, error, eagerly_hooks):
        def work():
            raise error

        with pytest.raises(error):
            kind.run(kind.make(work, retries=3))
        assert eagerly_hooks.names("work") == ["before_node_execute", "on_node_cancel"]
        assert eagerly_hooks.of("work")[-1].reason == "interrupted"

    @all_kinds
    def test_interruption_of_a_retry(self, kind, eagerly_hooks):
        attempts = []

        def work():
            attempts.append(1)
            raise ConnectionError if len(attempts) == 1 else KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            kind.run(kind.make(work, retries=3))
        assert eagerly_hooks.names("work") == [
            "before_node_execute",
            "before_node_retry",
            "after_node_retry",
            "on_node_cancel",
        ]
        assert eagerly_hooks.of("work")[2].succeeded is False

    @all_kinds
    def test_wrong_arguments_are_no_call(self, kind, eagerly_hooks):
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            kind.run(one_parameter(kind), y=1)
        assert eagerly_hooks.calls() == []

    @all_kinds
    def test_one_metadata_and_one_reporter_for_the_whole_call(self, kind, eagerly_hooks):
        body = fails_first(1)
        kind.run(kind.make(body, retries=1))
        events = eagerly_hooks.of("work")
        assert len(events) >= 4
        assert len({id(event.metadata) for event in events}) == 1
        assert len({id(event.reporter) for event in events}) == 1

    @all_kinds
    def test_two_calls_are_two(self, kind, eagerly_hooks):
        made = kind.make(fails_first(0))
        kind.run(made)
        kind.run(made)
        first, second = eagerly_hooks.calls()
        assert first[0].metadata.id != second[0].metadata.id

    def test_a_nested_call_happens_inside_and_knows_its_parent(self, eagerly_hooks):
        @task
        def inner():
            raise LookupError

        @task
        def outer():
            with pytest.raises(LookupError):
                inner()

        outer()
        events = eagerly_hooks.events[1:]
        assert [(event.hook, event.metadata.name) for event in events] == [
            ("before_node_execute", "outer"),
            ("before_node_execute", "inner"),
            ("on_node_error", "inner"),
            ("after_node_execute", "outer"),
        ]
        assert events[1].metadata.parent_id == events[0].metadata.id
        assert events[0].metadata.parent_id is None

    @with_and_without_a_timeout
    def test_hooks_run_in_the_calling_thread_and_outside_of_the_call(self, kind, timeout):
        seen = []
        hooks = ["before_node_execute", "before_node_retry", "after_node_execute", "after_node_retry"]
        plugin = listening(hooks, lambda: seen.append((threading.current_thread(), current_task())))
        with session(plugins=[plugin]):
            kind.run(kind.make(fails_first(1), retries=1, timeout=timeout))
        assert len(seen) == 4
        assert set(seen) == {(threading.current_thread(), None)}


def one_parameter(kind):
    def sync(x): ...

    async def coroutine(x): ...

    def stream(x):
        yield

    async def async_stream(x):
        yield

    return task(dict(zip(Kind, (sync, coroutine, stream, async_stream), strict=True))[kind])


class TestSessionHooks:
    @pytest.mark.parametrize("colour", ["with", "async with"])
    def test_start_and_end_enclose_what_happens_in_it(self, colour, eagerly_clock):
        hooks = RecordingHooks()
        work = task(fails_first(0, eagerly_clock))

        async def main():
            async with session(plugins=[hooks], clock=eagerly_clock):
                work()

        if colour == "with":
            with session(plugins=[hooks], clock=eagerly_clock) as context:
                work()
            assert context.session_id == hooks.events[0].session_id
        else:
            asyncio.run(main())
        assert hooks.names() == [
            "before_session_start",
            "before_node_execute",
            "after_node_execute",
            "after_session_end",
        ]
        start, before, _, end = hooks.events
        assert isinstance(start.session_id, UUID)
        assert start.session_id == end.session_id == before.metadata.session_id
        assert end.duration == 1.0

    def test_end_after_an_exception(self):
        hooks = RecordingHooks()
        with pytest.raises(LookupError), session(plugins=[hooks]):
            raise LookupError
        assert hooks.names() == ["before_session_start", "after_session_end"]

    def test_inner_sessions_are_heard_too(self):
        outer, inner = RecordingHooks(), RecordingHooks()
        work = task(fails_first(0))
        with session(plugins=[outer]) as outside:
            work()
            with session(plugins=[inner]) as inside:
                work()
            work()
        ids = [outside.session_id, inside.session_id, inside.session_id, outside.session_id]
        sessions = [event for event in outer.events if "session_id" in event.arguments]
        assert [event.session_id for event in sessions] == ids
        assert [call[0].metadata.session_id for call in outer.calls()] == ids[:1] + ids[1:2] + ids[:1]
        assert [event.session_id for event in inner.events if "session_id" in event.arguments] == ids[1:3]
        assert len(inner.calls()) == 1

    def test_the_session_is_open_in_its_first_hook_and_closed_in_its_last(self):
        seen = []

        class Where:
            @hook_impl
            def before_session_start(self, session_id):
                seen.append(current_session().session_id == session_id)

            @hook_impl
            def after_session_end(self):
                seen.append(current_session())

        with session(plugins=[Where()]):
            pass
        assert seen == [True, None]


class TestEvents:
    """`reporter.report` and `on_event`."""

    @with_and_without_a_timeout
    def test_from_a_body(self, kind, timeout, eagerly_session, eagerly_hooks):

        def work():
            current_task().report("rows loaded", count=3, name="any keyword", self=None)
            current_task().reporter.report("again")

        kind.run(kind.make(work, timeout=timeout))
        first, second = (event for event in eagerly_hooks.of("work") if event.hook == "on_event")
        assert first.name == "rows loaded"
        assert first.data == {"count": 3, "name": "any keyword", "self": None}
        assert first.metadata.id == eagerly_hooks.calls()[0][0].metadata.id
        assert (second.name, second.data) == ("again", {})

    @all_kinds
    def test_from_every_hook_that_has_a_reporter(self, kind, eagerly_session, eagerly_hooks, tmp_path):
        def reporting(hook):
            return hook_impl(lambda self, reporter: reporter.report(hook))

        Reports = type("Reports", (), {hook: reporting(hook) for hook in WITH_A_REPORTER})
        bodies = {
            "succeeds": fails_first(1),
            "fails": fails_first(2),
            "is interrupted": interrupted,
        }
        with session(plugins=[Reports()], **stores_in(tmp_path)):
            for name, body in bodies.items():
                with contextlib.suppress(ConnectionError, KeyboardInterrupt):
                    kind.run(kind.make(body, retries=1, name=name))
            everything_is_stored(kind)
        # The reporting plugin was registered last and so hears of each moment first.
        for name in (*bodies, "stored", "unstorable"):
            events = [event for event in eagerly_hooks.of(name) if event.hook in {"on_event", *WITH_A_REPORTER}]
            heard = [event.hook for event in events if event.hook != "on_event"]
            assert [event.name for event in events if event.hook == "on_event"] == heard
        reported = {event.name for event in eagerly_hooks.events if event.hook == "on_event"}
        assert reported == WITH_A_REPORTER - ({"node_iteration"} - set(items_of(kind)))

    def test_from_a_nested_call_it_is_the_inner_one_that_reports(self, eagerly_session, eagerly_hooks):
        @task
        def inner():
            current_task().report("from inside")

        @task
        def outer():
            inner()
            current_task().report("from outside")

        outer()
        events = [event for event in eagerly_hooks.events if event.hook == "on_event"]
        assert [(event.name, event.metadata.name) for event in events] == [
            ("from inside", "inner"),
            ("from outside", "outer"),
        ]

    @all_kinds
    def test_outside_of_a_session_nobody_listens(self, kind):
        def work():
            current_task().report("heard by nobody")
            return 1

        assert kind.run(kind.make(work)) == 1


def interrupted():
    raise KeyboardInterrupt
