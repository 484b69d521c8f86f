"""Timeouts tell the truth: the caller is released on time, the body is asked and made to stop, what it does later
counts for nothing, and what cannot be stopped is counted and warned about.

Bodies that must not end wait for a `threading.Event` that the test sets in the end; upper bounds on time are generous.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly import ContextExecutor, Retry, abandoned_bodies, current_task, session, task
from eagerly._life import ENDINGS, check_life
from eagerly.errors import EagerlyError, EagerlyWarning, StopRequested, TaskTimeoutError
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, frames_of_ours, stream_kinds

SLACK = 20.0
"""Seconds within which anything here must happen, on the slowest machine; what they replace would take for ever."""

# Where a body runs measured code, an interruption can hit the tracer, and then coverage never releases its lock.
not_measured = pytest.mark.skipif(sys.gettrace() is not None, reason="interrupts bodies that run measured code")

both_colours = pytest.mark.parametrize("kind", [Kind.SYNC, Kind.ASYNC], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every test ends with all bodies over. That it begins so keeps the failure of one from spoiling the next."""
    wait_until(lambda: abandoned_bodies() == 0)
    yield
    wait_until(lambda: abandoned_bodies() == 0)


def wait_until(condition: Any) -> None:
    """Poll, for what other threads do at a time of their own."""
    deadline = time.monotonic() + 2 * SLACK
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.001)


def spin() -> None:
    """Run in Python until interrupted, or until the test has failed anyway."""
    end = time.monotonic() + SLACK
    while time.monotonic() < end:
        pass
    raise AssertionError("never interrupted")


async def hang() -> None:
    """As `spin`, for coroutines."""
    await asyncio.sleep(SLACK)
    raise AssertionError("never cancelled")


def endless(kind: Kind, seen: list[Any] | None = None, **options: Any) -> Any:
    """A task that ends only by being stopped, and then adds to `seen` how that looked from inside."""
    seen = [] if seen is None else seen

    if kind is Kind.SYNC:

        @task(**options)
        def body() -> None:
            try:
                spin()
            except BaseException as error:
                seen.append((type(error), current_task().should_stop()))  # type: ignore[union-attr]
                raise

    else:

        @task(**options)
        async def body() -> None:
            try:
                await hang()
            except BaseException as error:
                seen.append((type(error), current_task().should_stop()))  # type: ignore[union-attr]
                raise

    return body


STOPPED_BY = {Kind.SYNC: StopRequested, Kind.ASYNC: asyncio.CancelledError}


# The limit


@both_colours
@pytest.mark.parametrize("limit", [0.25, timedelta(milliseconds=250)], ids=["seconds", "timedelta"])
def test_the_caller_is_released_and_the_body_is_stopped(kind: Kind, limit: Any) -> None:
    seen: list[Any] = []
    body = endless(kind, seen, timeout=limit)
    assert body.timeout == 0.25
    with pytest.raises(TaskTimeoutError, match=r"'body' took longer than its timeout of 0\.25 s") as caught:
        kind.run(body)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, EagerlyError)
    assert caught.value.timeout == 0.25
    assert caught.value.__cause__ is caught.value.__context__ is None
    wait_until(lambda: seen)  # on a busy machine it may need longer than the grace, and counts as abandoned until then
    assert seen == [(STOPPED_BY[kind], True)]


@both_colours
def test_what_ends_in_time_is_as_if_there_were_no_limit(kind: Kind) -> None:
    result = object()
    made = kind.make(lambda *args, **kwargs: (result, args, kwargs, current_task().name), timeout=60, name="timed")
    assert kind.run(made, 1, b=2) == (result, (1,), {"b": 2}, "timed")


@both_colours
@pytest.mark.parametrize("kind_of_error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
def test_errors_of_the_body_come_through_as_the_same_object(kind: Kind, kind_of_error: type[BaseException]) -> None:
    error = kind_of_error("mine")

    def fail() -> None:
        raise error

    made = kind.make(fail, timeout=60)

    async def call() -> None:
        with pytest.raises(kind_of_error) as caught:
            made() if kind is Kind.SYNC else await made()
        assert caught.value is error
        assert len(frames_of_ours(error)) <= 2
        assert error.__cause__ is error.__context__ is None

    asyncio.run(call())


def test_a_body_may_cancel_itself() -> None:
    @task(timeout=60)
    async def body() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await body()

    asyncio.run(main())


@pytest.mark.parametrize("limit", [1e-9, 1e300, timedelta.max, 10**9, sys.float_info.min], ids=str)
@both_colours
def test_extreme_limits_are_limits(kind: Kind, limit: Any) -> None:
    made = kind.make(lambda: 1, timeout=limit)
    for _ in range(20):
        with contextlib.suppress(TaskTimeoutError) if made.timeout < 1e-6 else contextlib.nullcontext():
            assert kind.run(made) == 1


@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        (0, ValueError, r"must be finite and greater than 0, not 0; write None"),
        (0.0, ValueError, "greater than 0"),
        (-1, ValueError, "greater than 0, not -1"),
        (timedelta(seconds=-1), ValueError, "greater than 0"),
        (timedelta(0), ValueError, "greater than 0"),
        (float("nan"), ValueError, "finite"),
        (float("inf"), ValueError, "finite"),
        (10**400, ValueError, "finite"),
        (True, TypeError, "takes seconds .* or a timedelta, not True"),
        ("5", TypeError, "not '5'"),
        (5j, TypeError, "takes seconds"),
        ([1], TypeError, "takes seconds"),
    ],
    ids=repr,
)
@both_colours
def test_limits_that_mean_nothing_are_refused(kind: Kind, limit: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        kind.make(lambda: 1, timeout=limit)
    assert isinstance(caught.value, EagerlyError)
    assert "task(timeout=...)" in str(caught.value)
    with pytest.raises(error, match=message):
        kind.make(lambda: 1).options(timeout=limit)


@stream_kinds
def test_streams_refuse_a_limit(kind: Kind) -> None:
    with pytest.raises(ValueError, match=r"Timeouts are not supported for generator tasks: timeout=5"):
        kind.make(lambda: 1, timeout=5)
    with pytest.raises(ValueError, match="not supported for generator tasks"):
        kind.make(lambda: 1).options(timeout=5)
    assert kind.make(lambda: 1, timeout=None).timeout is None


# With retries


@both_colours
def test_every_attempt_has_its_own_limit_and_its_own_request_to_stop(kind: Kind) -> None:
    contexts: list[Any] = []
    release = threading.Event()

    def sync_body() -> str:
        call = current_task()
        assert call is not None
        contexts.append(call)
        assert not call.should_stop()
        while call.attempt < 3 and not release.is_set():
            pass
        return "third time lucky"

    async def async_body() -> str:
        call = current_task()
        assert call is not None
        contexts.append(call)
        assert not call.should_stop()
        if call.attempt < 3:
            await hang()
        return "third time lucky"

    made = task(sync_body if kind is Kind.SYNC else async_body, timeout=0.5, retries=Retry(2, delay=9), name="body")
    hooks, clock = RecordingHooks(), instant_clock()
    with session(plugins=[hooks], clock=clock):
        assert kind.run(made) == "third time lucky"
    release.set()
    assert [call.attempt for call in contexts] == [1, 2, 3]
    assert [call.should_stop() for call in contexts] == [True, True, False]
    assert len({call.id for call in contexts}) == 1
    assert len(clock.sleeps) == 2
    assert [type(event.error) for event in hooks.of("body") if event.hook == "before_node_retry"] == [
        TaskTimeoutError
    ] * 2
    hooks.verify()


@both_colours
def test_retries_can_leave_timeouts_out(kind: Kind) -> None:
    seen: list[Any] = []
    body = endless(kind, seen, timeout=0.25, retries=Retry(5, on=ValueError))
    with pytest.raises(TaskTimeoutError):
        kind.run(body)
    wait_until(lambda: abandoned_bodies() == 0)
    assert len(seen) == 1


@both_colours
def test_a_last_attempt_that_times_out_is_the_error(kind: Kind) -> None:
    seen: list[Any] = []
    body = endless(kind, seen, timeout=0.25, retries=2)
    hooks = RecordingHooks()
    with session(plugins=[hooks]), pytest.raises(TaskTimeoutError) as caught:
        kind.run(body)
    wait_until(lambda: abandoned_bodies() == 0)
    assert len(seen) == 3
    assert "failed after 3 attempts" in caught.value.__notes__[-1]
    assert hooks.of("body")[-1].error is caught.value
    hooks.verify()


@both_colours
def test_wrong_arguments_are_no_matter_of_time(kind: Kind) -> None:
    if kind is Kind.SYNC:

        @task(timeout=60, retries=3)
        def body(a: int) -> None: ...

    else:

        @task(timeout=60, retries=3)
        async def body(a: int) -> None: ...

    hooks = RecordingHooks()
    with session(plugins=[hooks]), pytest.raises(TypeError, match="positional argument"):
        kind.run(body)
    assert hooks.names("body") == []


# Context


@both_colours
def test_context_variables_pass_in_and_out(kind: Kind) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    untouched: contextvars.ContextVar[str] = contextvars.ContextVar("untouched")

    def change() -> tuple[str, bool]:
        before = variable.get()
        variable.set("changed by the body")
        return before, current_task() is not None

    made = kind.make(change, timeout=60)

    async def main() -> Any:
        result = await made()
        return result, variable.get(), untouched.get("nothing"), current_task()

    variable.set("set by the caller")
    if kind is Kind.ASYNC:
        outcome = asyncio.run(main())
    else:
        outcome = (made(), variable.get(), untouched.get("nothing"), current_task())
    assert outcome == (("set by the caller", True), "changed by the body", "nothing", None)


@both_colours
def test_sessions_and_parents_are_those_of_the_caller(kind: Kind) -> None:
    inner = kind.make(lambda: current_task(), timeout=60, name="inner")

    if kind is Kind.SYNC:

        @task(timeout=60)
        def outer() -> Any:
            return current_task(), inner()

    else:

        @task(timeout=60)
        async def outer() -> Any:
            return current_task(), await inner()

    with session() as opened:
        outer_call, inner_call = kind.run(outer)
    assert outer_call.session is inner_call.session is opened
    assert inner_call.parent is outer_call
    assert inner_call.parent_id == outer_call.id


def test_nothing_of_a_call_is_kept() -> None:
    class Thing:
        pass

    @task(timeout=60)
    def identity(thing: Thing) -> Thing:
        return thing

    @task(timeout=60)
    def fail(thing: Thing) -> Thing:
        raise ValueError(thing)

    thing = Thing()
    known = weakref.ref(thing)
    assert identity(thing) is thing
    with contextlib.suppress(ValueError):
        fail(thing)
    del thing
    gc.collect()
    assert known() is None


# Nested


@both_colours
@pytest.mark.parametrize(
    ("outer_limit", "inner_limit", "guilty"), [(60, 0.25, "inner"), (0.25, 60, "outer"), (0.25, 0.25, None)]
)
def test_of_nested_limits_the_nearest_comes_first(
    kind: Kind, outer_limit: float, inner_limit: float, guilty: str | None
) -> None:
    seen: list[Any] = []
    inner = endless(kind, seen, timeout=inner_limit, name="inner")

    if kind is Kind.SYNC:

        @task(timeout=outer_limit)
        def outer() -> None:
            inner()

    else:

        @task(timeout=outer_limit)
        async def outer() -> None:
            await inner()

    hooks = RecordingHooks()
    with session(plugins=[hooks]), pytest.raises(TaskTimeoutError) as caught:
        kind.run(outer)
    if guilty is not None:
        assert f"task {guilty!r}" in str(caught.value)
    wait_until(lambda: len(seen) == 1)
    assert seen == [(STOPPED_BY[kind], True)]
    wait_until(lambda: abandoned_bodies() == 0)
    wait_until(lambda: hooks.names("inner")[-1:] != ["before_node_execute"])
    hooks.verify()


@both_colours
def test_an_outer_task_can_handle_the_timeout_of_an_inner_one(kind: Kind) -> None:
    inner = endless(kind, timeout=0.02)

    if kind is Kind.SYNC:

        @task(timeout=60)
        def outer() -> str:
            with pytest.raises(TaskTimeoutError):
                inner()
            return "handled"

    else:

        @task(timeout=60)
        async def outer() -> str:
            with pytest.raises(TaskTimeoutError):
                await inner()
            return "handled"

    assert kind.run(outer) == "handled"


# An interruption that arrives while `asyncio.run` cleans up leaves an event loop unclosed, which complains in the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_async_body_in_the_event_loop_of_a_timed_sync_body_is_stopped_too() -> None:
    ended: list[str] = []

    @task(timeout=60)
    async def inner() -> None:
        try:
            await asyncio.sleep(SLACK / 4)
            ended.append("slept")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    @task(timeout=0.2)
    def outer() -> None:
        asyncio.run(inner())

    with pytest.raises(TaskTimeoutError, match="'outer'"), warnings.catch_warnings():
        warnings.simplefilter("ignore", EagerlyWarning)  # two graces may be one too much
        outer()
    wait_until(lambda: ended)
    assert ended == ["cancelled"]
    wait_until(lambda: abandoned_bodies() == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # an unclosed loop goes here and now, and not in the middle of a later test


def test_a_plain_task_in_a_timed_async_one_is_stopped_with_it() -> None:
    """It blocks the event loop, so nobody but itself can notice the deadline around it."""
    inner = endless(Kind.SYNC, timeout=60)

    @task(timeout=0.2)
    async def outer() -> None:
        inner()

    with pytest.raises(TaskTimeoutError, match="'outer'"):
        asyncio.run(outer())


def test_a_deadline_ends_with_its_attempt() -> None:
    go_on = asyncio.Event()

    @task(timeout=60)
    async def background() -> str:
        await go_on.wait()
        return "done"

    @task(timeout=0.5)
    async def starter() -> asyncio.Task[str]:
        work = asyncio.create_task(background())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return work

    async def main() -> str:
        work = await starter()
        done, _ = await asyncio.wait([work], timeout=1)
        assert not done, f"stopped by the limit of a call that is over: {work}"
        go_on.set()
        return await work

    assert asyncio.run(main()) == "done"


def test_a_deadline_ends_with_its_attempt_in_threads_too() -> None:
    go_on = threading.Event()

    @task(timeout=60)
    def background() -> str:
        assert go_on.wait(SLACK)
        return "done"

    with ContextExecutor(ThreadPoolExecutor(1)) as pool:

        @task(timeout=1)
        def starter() -> Any:
            return pool.submit(background)

        work = starter()
        with pytest.raises(TimeoutError):
            work.exception(timeout=1.5)
        go_on.set()
        assert work.result(SLACK) == "done"


@both_colours
def test_a_call_that_begins_after_the_deadline_does_not_do_its_work(kind: Kind) -> None:
    over = threading.Event()
    inner = endless(kind, timeout=60)

    @task(timeout=0.2)
    def outer() -> None:
        try:
            spin()
        except StopRequested:
            try:
                kind.run(inner)
            finally:
                over.set()

    with pytest.raises(TaskTimeoutError), warnings.catch_warnings():
        warnings.simplefilter("ignore", EagerlyWarning)  # two graces may be one too much
        outer()
    assert over.wait(SLACK)


# Bodies that do not stop


@not_measured
def test_a_body_that_asks_is_not_abandoned() -> None:
    @task(timeout=0.02)
    def polite() -> str:
        with contextlib.suppress(StopRequested):  # which comes right after the request, here or outside of this
            while not current_task().should_stop():  # type: ignore[union-attr]
                pass
        return "too late"

    def is_abandoned() -> bool:
        with pytest.raises(TaskTimeoutError) as caught:
            polite()
        return caught.value.abandoned

    assert not all(is_abandoned() for _ in range(20))  # one that had no processor for so long may be


def stubborn(kind: Kind, release: Any, results: list[str], **options: Any) -> Any:
    """A task that ignores every interruption until `release` is set; then it returns something."""
    if kind is Kind.SYNC:

        @task(**options)
        def body() -> str:
            while True:
                try:
                    assert release.wait(SLACK)
                    break
                except BaseException:  # that is the point
                    continue
            results.append("late")
            return "late"

    else:

        @task(**options)
        async def body() -> str:
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.001)
            results.append("late")
            return "late"

    return body


@both_colours
@pytest.mark.parametrize("warnings_are", ["default", "error"])
def test_a_body_that_ignores_the_interruption_is_abandoned(kind: Kind, warnings_are: Any) -> None:
    release = threading.Event()
    results: list[str] = []
    hooks = RecordingHooks()
    body = stubborn(kind, release, results, timeout=0.25)

    async def main() -> TaskTimeoutError:
        try:
            with pytest.raises(TaskTimeoutError) as caught:
                if kind is Kind.SYNC:
                    body()
                else:
                    await body()
            assert results == []
            assert abandoned_bodies() == 1
        finally:
            release.set()
        await asyncio.to_thread(wait_until, lambda: abandoned_bodies() == 0)
        assert results == ["late"]
        return caught.value

    with session(plugins=[hooks]), warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter(warnings_are)
        error = asyncio.run(main())
    assert error.abandoned
    assert [event.hook for event in hooks.of("body")] == ["before_node_execute", "on_node_error"]
    told = "\n".join(error.__notes__) if warnings_are == "error" else str(caught_warnings[0].message)
    assert "'body' did not stop within 0.1 s of its timeout" in told
    assert "1 abandoned now" in told
    assert "current_task().should_stop()" in told
    if warnings_are == "default":
        assert issubclass(caught_warnings[0].category, EagerlyWarning)
        if kind is Kind.SYNC:
            assert caught_warnings[0].filename == __file__


def test_a_blocking_call_in_c_cannot_be_interrupted_but_is_left_behind() -> None:
    reading, writing = os.pipe()
    read: list[bytes] = []

    @task(timeout=0.25)
    def blocked() -> bytes:
        read.append(os.read(reading, 1))
        return read[0]

    with pytest.warns(EagerlyWarning, match="abandoned"), pytest.raises(TaskTimeoutError):
        blocked()
    assert abandoned_bodies() == 1
    os.write(writing, b"x")
    wait_until(lambda: abandoned_bodies() == 0)
    assert read == []  # the interruption arrived before the next bytecode
    os.close(reading)
    os.close(writing)


@both_colours
def test_a_late_error_is_discarded_like_a_late_result(kind: Kind) -> None:
    if kind is Kind.SYNC:

        @task(timeout=0.02)
        def body() -> None:
            try:
                spin()
            finally:
                raise ValueError("late")

    else:

        @task(timeout=0.02)
        async def body() -> None:
            try:
                await hang()
            finally:
                raise ValueError("late")

    with pytest.raises(TaskTimeoutError) as caught:
        kind.run(body)
    assert caught.value.__context__ is None
    gc.collect()  # "Task exception was never retrieved" would be reported here


# Helper threads


def test_helper_threads_are_named_daemons_and_are_used_again() -> None:
    thread = task(threading.current_thread, timeout=60)
    first = thread()
    assert first is not threading.current_thread()
    assert first.daemon
    assert first.name.startswith("eagerly-timeout-")
    assert int(first.name.removeprefix("eagerly-timeout-")) > 0
    alive = threading.active_count()
    # A helper goes back to the others just after it has released its caller, so there may be two.
    assert len({thread() for _ in range(500)} | {first}) <= 3
    assert threading.active_count() <= alive + 2


def test_calls_at_the_same_time_have_threads_of_their_own_and_few_are_kept() -> None:
    barrier = threading.Barrier(40)

    @task(timeout=SLACK)
    def meet(number: int) -> tuple[int, str]:
        barrier.wait(SLACK)
        return number, threading.current_thread().name

    with ThreadPoolExecutor(40) as pool:
        results = list(pool.map(meet, range(40)))
    assert [number for number, _ in results] == list(range(40))
    assert len({name for _, name in results}) == 40
    wait_until(lambda: sum(thread.name.startswith("eagerly-timeout-") for thread in threading.enumerate()) <= 16)


@not_measured
# Python reports and swallows what is raised in `__del__` and in callbacks of weak references and of the garbage
# collector. An interruption that arrives there is lost, and the body ends by itself.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_an_interruption_hits_its_own_body_or_nothing(count: int) -> None:
    """Bodies that end just about when their time is up: either outcome is right, any other exception is a leak."""
    hooks = RecordingHooks()
    leaked: list[Any] = []
    original = threading.excepthook
    threading.excepthook = leaked.append

    @task
    def step(x: int) -> int:
        return x

    @task(timeout=0.002)
    def racing(until: float, x: int) -> int:
        while time.monotonic() < until:
            step(x)
        return x

    try:
        for number in range(count):
            limit = 0.002 + (number % 21 - 10) * 0.00004
            with session(plugins=[hooks]), contextlib.suppress(TaskTimeoutError):
                assert racing(time.monotonic() + limit, number) == number
            wait_until(lambda: abandoned_bodies() == 0)
            # Of the calls inside the body, an interruption may cut short a hook. That of the timed task is not there.
            assert check_life(hooks.names("racing")) in ENDINGS
            hooks.clear()
        assert leaked == []
        assert task(lambda: "fine", timeout=60)() == "fine"
    finally:
        threading.excepthook = original


def test_a_time_that_is_up_before_the_body_begins() -> None:
    leaked: list[Any] = []
    original = threading.excepthook
    threading.excepthook = leaked.append
    try:
        body = task(lambda: None, timeout=1e-9)
        for _ in range(200):
            with pytest.raises(TaskTimeoutError):
                body()
        wait_until(lambda: abandoned_bodies() == 0)
    finally:
        threading.excepthook = original
    assert leaked == []


@not_measured
@both_colours
def test_nested_limits_never_leak_a_request_to_stop(kind: Kind) -> None:
    inner = endless(kind, timeout=60)

    if kind is Kind.SYNC:

        @task(timeout=0.003)
        def outer() -> None:
            inner()

    else:

        @task(timeout=0.003)
        async def outer() -> None:
            await inner()

    for _ in range(100):
        with pytest.raises(TaskTimeoutError), warnings.catch_warnings():
            warnings.simplefilter("ignore", EagerlyWarning)  # on a busy machine the inner one needs its time
            kind.run(outer)


# Cancellation from outside


async def test_cancelling_the_caller_cancels_the_body_and_waits_for_its_end() -> None:
    log: list[str] = []

    @task(timeout=60, retries=5)
    async def body() -> None:
        try:
            await hang()
        except asyncio.CancelledError as error:
            log.append(f"cancelled: {error}")
            raise
        finally:
            await asyncio.sleep(0)
            log.append("cleaned up")

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        work = asyncio.create_task(body())
        for _ in range(5):
            await asyncio.sleep(0)
        work.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await work
    assert log == ["cancelled: enough", "cleaned up"]
    assert hooks.names("body") == ["before_node_execute", "on_node_cancel"]
    assert hooks.events[-2].reason == "cancelled"


@pytest.mark.parametrize("limit", [None, 60], ids=["untimed", "timed"])
@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_is_never_lost(steps: int, limit: float | None) -> None:
    """A cancellation that was accepted ends the caller, however near the body is to its end."""
    event = asyncio.Event()

    @task(timeout=limit)
    async def body() -> str:
        await event.wait()
        return "done"

    work = asyncio.create_task(body())
    for _ in range(5):
        await asyncio.sleep(0)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    accepted = work.cancel()
    await asyncio.wait([work], timeout=SLACK)
    assert work.cancelled() == accepted


async def test_a_body_may_swallow_a_cancellation_as_without_a_limit() -> None:
    for limit in (None, 60):

        @task(timeout=limit)
        async def body() -> str:
            with contextlib.suppress(asyncio.CancelledError):
                await hang()
            return "went on"

        work = asyncio.create_task(body())
        for _ in range(5):
            await asyncio.sleep(0)
        work.cancel()
        assert await work == "went on"


async def test_a_body_may_be_cancelled_again_while_it_swallows_a_cancellation() -> None:
    entered = asyncio.Event()

    @task(timeout=SLACK)
    async def deaf() -> str:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                entered.set()
                await asyncio.Event().wait()
        return "went on"

    work = asyncio.create_task(deaf())
    for _ in range(2):
        await entered.wait()
        entered.clear()
        for _ in range(5):
            await asyncio.sleep(0)
        work.cancel()
    assert await work == "went on"


async def test_a_cancelled_body_that_goes_on_and_on_still_has_its_limit() -> None:
    release = threading.Event()
    body = stubborn(Kind.ASYNC, release, [], timeout=0.6)
    watchdog = threading.Timer(SLACK, release.set)  # or the test would never end if the limit were forgotten
    watchdog.start()
    with pytest.warns(EagerlyWarning, match="abandoned"), pytest.raises((asyncio.CancelledError, TimeoutError)):
        await asyncio.wait_for(body(), 0.3)
    assert not release.is_set()
    watchdog.cancel()
    release.set()
    await asyncio.to_thread(wait_until, lambda: abandoned_bodies() == 0)


async def test_the_tools_of_asyncio_work_around_and_in_a_timed_body() -> None:
    @task(timeout=60)
    async def group() -> list[int]:
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return [each.result() for each in work]

    async def fail() -> None:
        raise ValueError

    @task(timeout=60)
    async def failing_group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hang())
            tasks.create_task(fail())

    body = endless(Kind.ASYNC, timeout=60)
    assert await group() == [0, 1, 2]
    with pytest.raises(ExceptionGroup):
        await failing_group()
    current = asyncio.current_task()
    assert current is not None
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.02):
            await body()
    assert not isinstance(caught.value, TaskTimeoutError)
    assert current.cancelling() == 0
    with pytest.raises(ExceptionGroup) as caught_group:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(body())
            tasks.create_task(fail())
    assert [type(error) for error in caught_group.value.exceptions] == [ValueError]


async def test_an_event_loop_goes_on_while_a_body_times_out() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    with pytest.raises(TaskTimeoutError):
        await endless(Kind.ASYNC, timeout=0.5)()
    ticking.cancel()
    assert ticks > 10


def test_calls_from_worker_threads_time_out_there() -> None:
    seen: list[Any] = []
    body = endless(Kind.SYNC, seen, timeout=1)

    def call() -> str:
        with pytest.raises(TaskTimeoutError):
            body()
        return threading.current_thread().name

    with ThreadPoolExecutor(4, thread_name_prefix="mine") as pool:
        names = [future.result(SLACK) for future in [pool.submit(call) for _ in range(8)]]
    assert all(name.startswith("mine") for name in names)
    wait_until(lambda: abandoned_bodies() == 0)
    assert len(seen) == 8


# The inner retry's back-off


def test_a_back_off_in_a_timed_body_is_cut_short() -> None:
    @task(retries=Retry(1, delay=SLACK, jitter=0))
    def flaky() -> None:
        raise ConnectionError

    @task(timeout=0.25)
    def outer() -> None:
        flaky()

    started = time.monotonic()
    with pytest.raises(TaskTimeoutError), warnings.catch_warnings():
        warnings.simplefilter("ignore", EagerlyWarning)
        outer()
    wait_until(lambda: abandoned_bodies() == 0)
    assert time.monotonic() - started < SLACK / 2


# The interpreter


def run_script(script: str, *, interrupt_after: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script with this interpreter; send Ctrl-C when it has printed the line `interrupt_after`."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parents[1]), "PYTHONUNBUFFERED": "1"},
    )
    first = ""
    try:
        if interrupt_after is not None:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.strip() == interrupt_after
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SLACK)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, first + out, err)


@pytest.mark.parametrize("how", ["time.sleep(600)", "spin()"])
def test_a_running_body_does_not_keep_the_interpreter_alive(how: str) -> None:
    ran = run_script(f"""
        import time, warnings
        from eagerly import task
        from eagerly.errors import TaskTimeoutError
        warnings.simplefilter("ignore")
        def spin():
            while True: pass
        @task(timeout=0.25)
        def body():
            while True:
                try:
                    {how}
                except BaseException:
                    pass
        try:
            body()
        except TaskTimeoutError as error:
            print("timed out, abandoned:", error.abandoned)
    """)
    assert (ran.stdout.strip(), ran.stderr, ran.returncode) == ("timed out, abandoned: True", "", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_interrupts_the_wait_and_the_body() -> None:
    ran = run_script(
        """
        import time
        from eagerly import abandoned_bodies, session, task
        from eagerly.testing import RecordingHooks
        hooks = RecordingHooks()
        stopped = []
        @task(timeout=600, retries=3)
        def body():
            try:
                print("running")
                while True: len("")
            except BaseException as error:
                stopped.append(type(error).__name__)
                raise
        with session(plugins=[hooks]):
            try:
                body()
            except KeyboardInterrupt:
                end = time.monotonic() + 10
                while abandoned_bodies() and time.monotonic() < end: pass
                print("interrupted", stopped, hooks.names("body"), hooks.of("body")[-1].reason, abandoned_bodies())
        """,
        interrupt_after="running",
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[1:] == [
        "interrupted ['StopRequested'] ['before_node_execute', 'on_node_cancel'] interrupted 0"
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_helper_threads_of_its_own() -> None:
    ran = run_script("""
        import os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from eagerly import abandoned_bodies, task
        from eagerly.errors import EagerlyWarning, TaskTimeoutError
        warnings.simplefilter("ignore", EagerlyWarning)
        release = threading.Event()
        @task(timeout=0.25)
        def stubborn():
            while True:
                try:
                    return release.wait()
                except BaseException: pass
        @task(timeout=60)
        def fine(): return "fine"
        fine()
        try: stubborn()
        except TaskTimeoutError: pass
        assert abandoned_bodies() == 1
        for _ in range(3): fine()  # leaves a helper waiting for its next job, which the child does not have
        child = os.fork()
        if child == 0:
            print("child", abandoned_bodies(), fine(), fine(), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("parent", status, abandoned_bodies(), fine())
    """)
    assert ran.stdout.splitlines() == ["child 0 fine fine", "parent 0 1 fine"]


def test_a_call_at_exit_works() -> None:
    ran = run_script("""
        import atexit
        from eagerly import task
        @task(timeout=60)
        def last(): print("last words")
        last()
        atexit.register(last)
    """)
    assert (ran.stdout.split("\n"), ran.stderr) == (["last words", "last words", ""], "")


def test_what_interrupts_is_imported_before_there_is_a_thread_to_interrupt() -> None:
    """An import that an interruption cuts short would leave a lock held, and block all others for ever."""
    script = """
        import sys
        from eagerly import task
        assert "ctypes" not in sys.modules
        late = {"ctypes", "logging", "random", "tomllib", "uuid"}
        print(task(lambda: late - sys.modules.keys(), timeout=60)())
    """
    assert run_script(script).stdout == "set()\n"


def test_an_import_is_not_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body whose time is up in the middle of an import finishes that: others may be waiting for the module."""
    gate = types.ModuleType("gate_of_slow_module")
    gate.entered, gate.release = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gate_of_slow_module", gate)
    source = "import gate_of_slow_module as gate\ngate.entered.set()\ngate.release.wait(60)\ncomplete = True\n"
    (tmp_path / "slow_module_of_a_test.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    @task(timeout=0.2)
    def load() -> None:
        importlib.import_module("slow_module_of_a_test")

    with pytest.warns(EagerlyWarning, match="abandoned"), pytest.raises(TaskTimeoutError):
        load()
    assert gate.entered.is_set()
    gate.release.set()
    wait_until(lambda: abandoned_bodies() == 0)
    assert sys.modules.pop("slow_module_of_a_test").complete
