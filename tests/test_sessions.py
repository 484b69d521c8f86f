"""Sessions: opening, leaving from anywhere, nesting, what carries them along, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import re
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

import eagerly
from eagerly import (
    Clock,
    ContextExecutor,
    SessionContext,
    Settings,
    async_session,
    current_session,
    current_task,
    hook_impl,
    session,
    task,
)
from eagerly.cache import DiskStore, MemoryStore
from eagerly.datasets import DatasetStore
from eagerly.errors import EagerlyError, OptionTypeError, SessionError, TaskError
from eagerly.testing import RecordingHooks, instant_clock
from kinds import all_kinds
from stored_calls import DictStore, appending


@task
def double(x):
    return 2 * x


@task
def where():
    return current_session(), current_task()


def run_in_thread(function, *args):
    """What `function` returns in a thread of its own, whose context is empty."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)))
    thread.start()
    thread.join()
    return result[0]


@pytest.fixture(autouse=True)
def _outside_before_and_after():
    assert current_session() is None
    yield
    assert current_session() is None
    assert current_task() is None


class TestBothColours:
    def test_with(self):
        with session(name="nightly") as context:
            assert isinstance(context, SessionContext)
            assert current_session() is context
            assert context.name == "nightly"
            assert not context.closed
        assert context.closed

    async def test_async_with(self):
        async with session(name="nightly") as context:
            assert current_session() is context
            await asyncio.sleep(0)
            assert current_session() is context
        assert current_session() is None
        assert context.closed

    def test_async_session_is_session(self):
        assert async_session is session

    async def test_with_in_async_code_and_across_awaits(self):
        with session() as context:
            await asyncio.sleep(0)
            assert current_session() is context

    async def test_exit_stacks(self):
        with contextlib.ExitStack() as stack:
            outer = stack.enter_context(session())
            async with contextlib.AsyncExitStack() as async_stack:
                inner = await async_stack.enter_async_context(session())
                assert current_session() is inner
            assert current_session() is outer

    def test_the_context_tells_about_itself(self):
        clock, hooks = instant_clock(100.0), RecordingHooks()
        with session(name="nightly", clock=clock, plugins=[hooks]) as context:
            clock.advance(5)
            assert context.elapsed == 5.0
            assert context.clock is clock
            assert context.plugins == (hooks,)
            assert isinstance(context.session_id, UUID)
            assert context.session_id == context.session_id
            assert repr(context) == "<SessionContext 'nightly' open, 1 plugins>"
        assert repr(context) == "<SessionContext 'nightly' closed, 1 plugins>"

    def test_repr_before_inside_and_after(self):
        opened = session(name="nightly")
        assert repr(opened) == "<session nightly not entered>"
        with opened:
            assert repr(opened) == "<session nightly open>"
        assert repr(opened) == "<session nightly closed>"
        assert repr(session()) == "<session not entered>"

    @pytest.mark.parametrize("error", [LookupError(), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
    def test_an_exception_in_the_body_comes_out_as_it_is(self, error):
        with pytest.raises(type(error)) as caught, session() as context:
            raise error
        assert caught.value is error
        assert context.closed
        assert error.__context__ is None


class TestNesting:
    def test_the_innermost_one_is_current(self):
        with session() as outer:
            with session() as inner:
                assert current_session() is inner
                assert where() == (inner, where_task(inner))
            assert current_session() is outer

    def test_a_clock_is_inherited_and_replaced(self):
        first, second = instant_clock(), instant_clock()
        with session(clock=first):
            with session() as inner:
                assert inner.clock is first
            with session(clock=second) as inner:
                assert inner.clock is second

    def test_a_clock_is_the_real_one_by_default(self):
        with session() as context:
            assert type(context.clock) is Clock
            before = context.clock.now()
            assert context.clock.now() >= before

    def test_settings_are_inherited_field_by_field(self):
        with session(settings=Settings(wrap_errors=True)):
            with session(settings=Settings(strict_hooks=True)) as inner:
                assert inner.settings == Settings(wrap_errors=True, strict_hooks=True)
                with session() as innermost:
                    assert innermost.settings == inner.settings
            with session(settings=Settings(wrap_errors=False)) as inner:
                assert inner.settings.wrap_errors is False

    def test_an_inherited_setting_beats_the_environment(self, monkeypatch):
        with session(settings=Settings(wrap_errors=False)):
            monkeypatch.setenv("EAGERLY_WRAP_ERRORS", "1")
            with session() as inner:
                assert inner.settings.wrap_errors is False
        with session() as context:
            assert context.settings.wrap_errors is True

    def test_an_inherited_setting_takes_effect(self):
        @task
        def fail():
            raise LookupError

        with session(settings=Settings(wrap_errors=True)), session(), pytest.raises(TaskError):
            fail()
        with pytest.raises(LookupError):
            fail()

    def test_plugins_add_up_and_none_is_there_twice(self):
        first, second = RecordingHooks(), RecordingHooks()
        with session(plugins=[first]) as outer, session(plugins=[second, first]) as inner:
            assert inner.plugins == (first, second)
            assert outer.plugins == (first,)
            double(1)
        assert first.names("double") == second.names("double") == ["before_node_execute", "after_node_execute"]

    def test_plugins_may_be_any_iterable(self):
        hooks = RecordingHooks()
        with session(plugins=(each for each in [hooks])) as context:
            assert context.plugins == (hooks,)

    def test_a_name_is_not_inherited(self):
        with session(name="outer"), session() as inner:
            assert inner.name is None

    def test_a_session_around_a_call_is_not_the_callees_business(self):
        @task
        def opens_its_own():
            with session(name="inner") as inner:
                return inner, where()[0]

        with session() as outer:
            inner, seen = opens_its_own()
            assert seen is inner
            assert current_session() is outer

    @all_kinds
    def test_a_session_opened_inside_a_task_leaves_the_task_current(self, kind):
        def body():
            call = current_task()
            assert call is not None
            with session(name="inner") as inner:
                assert current_session() is inner
                assert current_task() is call
                assert where()[1].parent is call
            assert current_task() is call
            assert current_session() is None
            return "done"

        assert kind.run(kind.make(body)) == "done"

    def test_a_session_inside_a_stream_lasts_over_its_items_and_stays_in_it(self):
        @task
        def stream():
            with session(name="inner") as inner:
                for _ in range(3):
                    yield where()[0] is inner
            yield where()[0] is None

        seen = []
        for item in stream():
            seen.append(item)
            assert current_session() is None
        assert seen == [True, True, True, True]

    async def test_a_session_inside_an_async_stream_lasts_over_its_items_and_stays_in_it(self):
        @task
        async def stream():
            async with session(name="inner") as inner:
                for _ in range(3):
                    await asyncio.sleep(0)
                    yield where()[0] is inner
            yield where()[0] is None

        seen = []
        async for item in stream():
            seen.append(item)
            assert current_session() is None
        assert seen == [True, True, True, True]


class TestStores:
    """`cache_store`, `cache_mode` and `dataset_store`: inherited, replaced, switched off."""

    def test_arguments_of_every_sort(self, tmp_path):
        store, data = DictStore(), DatasetStore(tmp_path / "data")
        with session(cache_store=store, dataset_store=data) as context:
            assert context.cache_store is store
            assert context.dataset_store is data
        for place in (tmp_path / "there", str(tmp_path / "there")):
            with session(cache_store=place, dataset_store=place) as context:
                assert isinstance(context.cache_store, DiskStore)
                assert context.dataset_store.base == str(tmp_path / "there")
        with session(cache_store="memory://", dataset_store="memory://bucket") as context:
            assert isinstance(context.cache_store, MemoryStore)
            assert context.dataset_store.base.startswith("memory://")

    def test_inherited_and_replaced(self, tmp_path):
        first, second = DictStore(), DictStore()
        with session(cache_store=first, cache_mode="read", dataset_store=tmp_path / "first") as outer:
            with session() as inner:
                assert inner.cache_store is first
                assert inner.cache_mode == "read"
                assert inner.dataset_store.base == outer.dataset_store.base
                with session(cache_store=second, cache_mode="on", dataset_store=tmp_path / "second") as innermost:
                    assert innermost.cache_store is second
                    assert innermost.cache_mode == "on"
                    assert innermost.dataset_store.base == str(tmp_path / "second")
                assert inner.cache_store is first
            assert outer.cache_store is first

    def test_none_switches_off_and_that_is_inherited(self, tmp_path):
        runs = []
        made = task(appending(runs, 1), name="made", cache=True, cache_version="1", dataset="made.json")
        with session(cache_store=DictStore(), dataset_store=tmp_path), session(cache_store=None, dataset_store=None):
            with session() as inner:
                assert inner.cache_store is None
                assert inner.dataset_store is None
                made()
                made()
                assert made.is_cached() is False
                assert made.invalidate() is False
            with session(cache_store=DictStore()) as again:
                assert again.cache_store is not None
                made()
                made()
        assert len(runs) == 3
        assert list(tmp_path.iterdir()) == []

    def test_a_store_of_the_tasks_own_is_used_all_the_same(self):
        store, runs = DictStore(), []
        made = task(appending(runs, 1), name="made", cache=store, cache_version="1")
        with session(cache_store=None):
            made()
            made()
        with session(cache_store=DictStore()) as context:
            made()
            assert context.cache_store.asked == []
        assert runs == [1]

    def test_outside_a_session_only_a_store_of_the_tasks_own_is_used(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        runs = []
        plain = task(appending(runs, "plain"), name="plain", cache=True, cache_version="1", dataset="plain.json")
        owning = plain.options(name="owning", cache=DictStore(), dataset=None)
        for made in (plain, owning):
            made()
            made()
        assert runs == ["plain"] * 3
        assert list(tmp_path.iterdir()) == []

    def test_the_argument_wins_over_settings_which_win_over_the_session_around(self, tmp_path, monkeypatch):
        def places(**options):
            with session(**options) as context:
                return context.cache_place, context.cache_mode, context.dataset_store.base

        def at(name, mode):
            return str(tmp_path / name), mode, str(tmp_path / name)

        def given(name, mode):
            return {"cache_store": str(tmp_path / name), "cache_mode": mode, "dataset_store": str(tmp_path / name)}

        monkeypatch.chdir(tmp_path)
        Path("pyproject.toml").write_text(
            '[tool.eagerly]\ncache_store = "file"\ncache_mode = "off"\ndataset_store = "file"\n', "utf-8"
        )
        assert places() == at("file", "off")
        for name, value in given("environment", "read").items():
            monkeypatch.setenv(f"EAGERLY_{name.upper()}", value)
        assert places() == at("environment", "read")
        with session(**given("around", "refresh")):
            assert places() == at("around", "refresh")
            assert places(settings=Settings(wrap_errors=True)) == at("around", "refresh")
            assert places(settings=Settings(**given("settings", "on"))) == at("settings", "on")
            assert places(settings=Settings(**given("settings", "on")), **given("argument", "off")) == at(
                "argument", "off"
            )
            with session(settings=Settings(**given("settings", "on"))):
                assert places() == at("settings", "on")
        with session(settings=Settings(**given("around", "refresh"))):
            assert places() == at("around", "refresh")

    def test_a_relative_path_is_resolved_when_the_session_opens(self, tmp_path, monkeypatch):
        here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
        here.mkdir()
        elsewhere.mkdir()
        made = task(lambda: 1, name="made", cache=True, dataset="made.json")
        monkeypatch.chdir(here)
        with session(cache_store="cache", dataset_store=Path("data")) as outer:
            monkeypatch.chdir(elsewhere)
            assert outer.cache_place == str(here / "cache")
            made()
            with session() as inner:
                assert inner.cache_place == str(here / "cache")
                assert inner.dataset_store.base == str(here / "data")
                assert made.is_cached() is True
        assert {path.name for path in here.iterdir()} == {"cache", "data"}
        assert list(elsewhere.iterdir()) == []

    def test_and_not_when_it_is_made(self, tmp_path, monkeypatch):
        opened = session(cache_store="cache", dataset_store=Path("data"))
        monkeypatch.chdir(tmp_path)
        with opened as context:
            assert context.cache_place == str(tmp_path / "cache")
            assert context.dataset_store.base == str(tmp_path / "data")

    @all_kinds
    def test_the_body_sees_where_what_it_calls_is_stored(self, kind, tmp_path):
        store = DictStore()

        def body():
            call = current_task()
            return call.cache_store is store, call.dataset_store.base

        with session(cache_store=store, dataset_store=tmp_path):
            assert kind.run(kind.make(body)) == (True, str(tmp_path))

    def test_a_clock_says_what_time_it_is_for_the_cache(self):
        now = [1000.0]
        runs = []
        made = task(appending(runs, 1), name="made", cache=True, cache_version="1", cache_ttl=60)
        with session(cache_store=DictStore(), clock=Clock(time=lambda: now[0])):
            made()
            now[0] += 59.9
            assert made.is_cached() is True
            made()
            now[0] += 0.2
            assert made.is_cached() is False
            made()
        assert len(runs) == 2


def where_task(context):
    """Equal to the call of `where` made in the session `context`."""

    class Call:
        def __eq__(self, other):
            return other.task is where and other.session is context

        __hash__ = None

    return Call()


class TestLeftFromElsewhere:
    def test_another_thread(self):
        hooks = RecordingHooks()
        opened = session(plugins=[hooks])
        context = opened.__enter__()
        run_in_thread(opened.__exit__, None, None, None)
        assert context.closed
        assert current_session() is None
        assert hooks.names() == ["before_session_start", "after_session_end"]

    def test_another_thread_that_carries_the_context(self):
        opened = session()
        opened.__enter__()

        def leave():
            opened.__exit__(None, None, None)
            return current_session(), where()[0]

        assert run_in_thread(contextvars.copy_context().run, leave) == (None, None)
        assert current_session() is None

    def test_another_contextvars_context(self):
        context, opened = contextvars.copy_context(), session()
        context.run(opened.__enter__)
        assert current_session() is None
        opened.__exit__(None, None, None)
        assert context.run(current_session) is None
        assert context.run(where)[0] is None

    async def test_another_asyncio_task(self):
        opened = session()
        entered = await asyncio.create_task(enter(opened))
        assert current_session() is None
        await asyncio.create_task(opened.__aexit__(None, None, None))
        assert entered.closed

    async def test_a_child_task_leaves_the_session_of_its_parent(self):
        with session(name="outer") as outer:
            opened = session()
            await opened.__aenter__()
            await asyncio.create_task(opened.__aexit__(None, None, None))
            assert current_session() is outer
            assert where()[0] is outer

    def test_out_of_order(self):
        with session(name="around") as around:
            first, second, third = session(), session(), session()
            one, two, three = first.__enter__(), second.__enter__(), third.__enter__()
            second.__exit__(None, None, None)
            assert current_session() is three
            first.__exit__(None, None, None)
            assert current_session() is three
            assert where()[0] is three
            third.__exit__(None, None, None)
            assert current_session() is around
            assert where()[0] is around
            assert one.closed
            assert two.closed

    def test_a_session_opened_after_its_surroundings_were_left_inherits_from_what_is_open(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            opened = session(plugins=[RecordingHooks()], clock=instant_clock())
            opened.__enter__()
            run_in_thread(opened.__exit__, None, None, None)
            with session() as inner:
                assert inner.plugins == (hooks,)
                assert not isinstance(inner.clock, type(instant_clock()))

    def test_what_carries_a_session_that_has_been_left_is_in_the_one_around(self):
        with session(name="outer") as outer:
            with session(name="inner") as inner:
                carried = contextvars.copy_context()
                assert carried.run(current_session) is inner
            assert carried.run(current_session) is outer
            assert carried.run(where)[0] is outer
        assert carried.run(current_session) is None

    def test_a_stream_that_outlives_its_session_ends_in_it(self):
        hooks = RecordingHooks()

        @task
        def count():
            yield from range(3)

        with session(plugins=[hooks]):
            stream = count()
            next(stream)
        assert list(stream) == [1, 2]
        hooks.verify()
        assert hooks.names("count")[-1] == "after_node_execute"


async def enter(opened):
    return await opened.__aenter__()


class TestMisuse:
    def test_entered_twice(self):
        opened = session()
        with opened, pytest.raises(SessionError, match=r"can be entered once; call session\(\) again"):
            opened.__enter__()

    def test_entered_again_after_it_was_left(self):
        opened = session()
        with opened:
            pass
        with pytest.raises(SessionError, match="can be entered once"):
            opened.__enter__()

    def test_left_twice(self):
        opened = session()
        with opened:
            pass
        with pytest.raises(SessionError, match="has been left already"):
            opened.__exit__(None, None, None)

    def test_left_without_having_been_entered(self):
        with pytest.raises(SessionError, match="had not been entered; write `with session"):
            session().__exit__(None, None, None)

    def test_these_are_runtime_errors_of_ours(self):
        assert issubclass(SessionError, RuntimeError)
        assert issubclass(SessionError, EagerlyError)

    def test_entering_twice_leaves_the_session_as_it_is(self):
        hooks = RecordingHooks()
        opened = session(plugins=[hooks])
        with opened as context:
            with pytest.raises(SessionError):
                opened.__enter__()
            assert current_session() is context
        assert hooks.names() == ["before_session_start", "after_session_end"]


class TestNeverClosed:
    def warned_at(self, warning):
        """The place that the warning names."""
        return re.search(r"opened at (.+):(\d+)\.", str(warning.message)).groups()

    @pytest.mark.parametrize("how", ["enter", "aenter", "exit stack", "async exit stack"])
    def test_a_resource_warning_says_where_it_was_opened(self, how):
        async def enter_async(stack):
            opened = session()
            await (stack.enter_async_context(opened) if stack else opened.__aenter__())
            return inspect.currentframe().f_lineno - 1

        def enter_sync(stack):
            opened = session()
            stack.enter_context(opened) if stack else opened.__enter__()
            return inspect.currentframe().f_lineno - 1

        def drop():
            if how == "enter":
                return enter_sync(None)
            if how == "exit stack":
                return enter_sync(contextlib.ExitStack())
            return asyncio.run(enter_async(contextlib.AsyncExitStack() if "stack" in how else None))

        def drop_in_a_context_of_its_own():
            line = contextvars.Context().run(drop)
            gc.collect()
            return line

        with pytest.warns(ResourceWarning, match=r"a session was never closed.*Write `with session\(\):`") as caught:
            line = drop_in_a_context_of_its_own()
        assert self.warned_at(caught[0]) == (__file__, str(line))

    def test_none_for_sessions_that_were_closed_or_never_entered(self):
        with session():
            pass
        session()
        gc.collect()  # a warning would be an error


class TestOutside:
    def test_there_is_neither_task_nor_session(self):
        assert current_session() is None
        assert current_task() is None
        assert where()[0] is None

    def test_nor_in_a_fresh_thread(self):
        with session():
            assert run_in_thread(current_session) is None
            assert run_in_thread(current_task) is None

    def test_nor_in_an_empty_context(self):
        with session():
            assert contextvars.Context().run(current_session) is None

    def test_nor_in_a_thread_that_a_task_starts(self):
        @task
        def body():
            return run_in_thread(current_task), run_in_thread(current_session)

        with session():
            assert body() == (None, None)

    async def test_each_asyncio_task_has_its_own(self):
        async def visit(name, arrived, leave):
            async with session(name=name) as mine:
                arrived.set()
                await leave.wait()
                return current_session() is mine

        arrived = [asyncio.Event(), asyncio.Event()]
        leave = asyncio.Event()
        visitors = [asyncio.create_task(visit(str(n), event, leave)) for n, event in enumerate(arrived)]
        for event in arrived:
            await event.wait()
        assert current_session() is None
        leave.set()
        assert await asyncio.gather(*visitors) == [True, True]

    def test_each_thread_has_its_own(self):
        barrier = threading.Barrier(4, timeout=60)

        def visit():
            with session() as mine:
                barrier.wait()
                inside = current_session() is mine
                barrier.wait()
            return inside and current_session() is None

        with ThreadPoolExecutor(4) as pool:
            visits = [pool.submit(visit) for _ in range(4)]
        assert [visit.result() for visit in visits] == [True] * 4


class TestCarried:
    """The context reaches threads by the standard means, and through `ContextExecutor`."""

    def test_copy_context(self):
        @task
        def body():
            return run_in_thread(contextvars.copy_context().run, where), current_task()

        with session() as context:
            (seen, inner), call = body()
        assert seen is context
        assert inner.parent is call

    async def test_to_thread(self):
        with session() as context:
            assert await asyncio.to_thread(current_session) is context

    def test_to_thread_from_an_async_task(self):
        @task
        async def body():
            return await asyncio.to_thread(current_task), current_task()

        carried, call = asyncio.run(body())
        assert carried is call

    async def test_new_asyncio_tasks(self):
        with session() as context:
            assert (await asyncio.create_task(asyncio.to_thread(where)))[0] is context

    def test_executors_do_not_and_context_executor_does(self):
        with session() as context, ThreadPoolExecutor() as pool:
            assert pool.submit(current_session).result() is None
            assert ContextExecutor(pool).submit(current_session).result() is context

    def test_context_executor_submits_with_arguments(self):
        with ContextExecutor(ThreadPoolExecutor()) as pool:
            assert pool.submit(pow, 2, 5).result() == 32
            assert pool.submit(int, "ff", base=16).result() == 255

    def test_context_executor_maps_in_order(self):
        @task
        def body(pool):
            return list(pool.map(lambda a, b: (a, b, current_task()), [1, 2, 3], "abc")), current_task()

        with session(), ContextExecutor(ThreadPoolExecutor(2)) as pool:
            results, call = body(pool)
        assert results == [(1, "a", call), (2, "b", call), (3, "c", call)]

    def test_what_one_job_does_to_its_context_no_other_sees(self):
        opened = []

        def open_and_stay(_):
            found = current_session()
            opened.append(session())
            opened[-1].__enter__()
            return found

        with session() as context, ContextExecutor(ThreadPoolExecutor(1)) as pool:
            assert list(pool.map(open_and_stay, range(2))) == [context, context]
            assert pool.submit(open_and_stay, 2).result() is context
            assert pool.submit(current_session).result() is context
            assert current_session() is context
            for each in opened:
                each.__exit__(None, None, None)

    def test_context_executor_shuts_down_what_it_wraps(self):
        inner = ThreadPoolExecutor()
        with ContextExecutor(inner):
            pass
        with pytest.raises(RuntimeError, match="shutdown"):
            inner.submit(print)
        pool = ContextExecutor(ThreadPoolExecutor())
        pool.shutdown(wait=True, cancel_futures=True)
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit(print)

    @pytest.mark.parametrize("value", [None, 3, ThreadPoolExecutor])
    def test_context_executor_takes_executors_only(self, value):
        with pytest.raises(
            OptionTypeError, match=r"takes an executor.*write ContextExecutor\(ThreadPoolExecutor\(\)\)"
        ):
            ContextExecutor(value)

    def test_context_executor_refuses_processes(self):
        with (
            ProcessPoolExecutor(1) as pool,
            pytest.raises(OptionTypeError, match="cannot carry a context into the proc"),
        ):
            ContextExecutor(pool)

    def test_context_executor_refuses_a_process_pool_of_any_name(self):
        class Pool(ProcessPoolExecutor): ...

        with Pool(1) as pool, pytest.raises(OptionTypeError, match="into the processes of Pool"):
            ContextExecutor(pool)


class Listening:
    @hook_impl
    def before_node_execute(self): ...


def cycle_nested(rounds):
    for _ in range(rounds):
        with session(), session():
            double(1)


def cycle_with_a_plugin(rounds):
    for _ in range(rounds):
        with session(plugins=[Listening()]):
            double(1)


def cycle_failing(rounds):
    for _ in range(rounds):
        with contextlib.suppress(LookupError), session():
            raise LookupError


def cycle_async(rounds):
    async def main():
        for _ in range(rounds):
            async with session():
                double(1)

    asyncio.run(main())


def cycle_left_in_another_thread(rounds):
    """The thread that opens the sessions is never the one that leaves them."""
    before = sessions_alive()
    with ThreadPoolExecutor(1) as enters, ThreadPoolExecutor(1) as leaves:
        for _ in range(rounds):
            opened = session()
            enters.submit(opened.__enter__).result()
            leaves.submit(opened.__exit__, None, None, None).result()
        assert enters.submit(current_session).result() is None
        assert sessions_alive() < before + 10  # while the thread that opened them is still there


def cycle_overlapping(rounds):
    """Each session is left after the next one was entered."""
    last = session()
    last.__enter__()
    for _ in range(rounds):
        following = session()
        following.__enter__()
        last.__exit__(None, None, None)
        last = following
    last.__exit__(None, None, None)


CYCLES = {
    cycle_nested: 5_000,
    cycle_failing: 5_000,
    cycle_async: 5_000,
    cycle_left_in_another_thread: 2_000,
    cycle_overlapping: 5_000,
    cycle_with_a_plugin: 500,
}


def assert_nothing_left_by(cycle):
    rounds = CYCLES[cycle]
    context = contextvars.copy_context()  # alive to the end, with whatever it refers to
    context.run(cycle, 20)  # what is made once is made here
    gc.collect()
    threads, files, alive = threading.active_count(), open_files(), sessions_alive()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        context.run(cycle, rounds)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert threading.active_count() == threads
    assert open_files() == files
    assert sessions_alive() <= alive
    # Bytes. The interpreter's cache of attribute names takes up to 250 kB; a session several times 200 bytes.
    assert grown < 250_000 + 200 * rounds


class TestNothingIsLeftBehind:
    @pytest.mark.parametrize("cycle", CYCLES, ids=lambda value: value.__name__)
    def test_thousands_of_sessions_leave_no_thread_no_file_no_memory(self, cycle):
        """In a process of its own, where nothing else comes or goes."""
        code = f"import test_sessions; test_sessions.assert_nothing_left_by(test_sessions.{cycle.__name__})"
        folder = os.path.dirname(__file__)  # noqa: PTH120
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def test_opening_one_starts_no_thread(self):
        threads = set(threading.enumerate())
        with session(plugins=[Listening()]):
            double(1)
            assert not set(threading.enumerate()) - threads

    def test_a_session_keeps_nothing_of_its_calls(self):
        class Thing: ...

        take = task(lambda thing: Thing())
        with session(plugins=[Listening()]):
            for _ in range(100):
                take(Thing())
            gc.collect()
            assert not [each for each in gc.get_objects() if type(each) is Thing]


def open_files():
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


def sessions_alive():
    return sum(type(each) is eagerly.SessionContext for each in gc.get_objects())


def test_clock_none_is_the_real_one_inside_a_session_with_another():
    fake = instant_clock()
    with session(clock=fake) as outer, session(clock=None) as inner:
        assert outer.clock is fake
        assert inner.clock is not fake
        assert inner.clock.now is Clock().now


def test_a_bad_setting_does_not_take_the_place_of_the_users_error(monkeypatch):
    """Outside of a session, settings are looked up when a task fails; the failure is what counts."""
    monkeypatch.setenv("EAGERLY_WRAP_ERROR", "1")

    @task
    def fail():
        raise LookupError("theirs")

    with pytest.raises(LookupError, match="theirs") as caught:
        fail()
    assert any("EAGERLY_WRAP_ERRORS" in note for note in caught.value.__notes__)
