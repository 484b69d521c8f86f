"""`eagerly.testing` and the pytest plugin: what other people's tests rely on."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

import eagerly_pytest
from eagerly import Clock, Retry, current_session, current_task, session, task
from eagerly.hooks import EagerlySpec
from eagerly.testing import InstantClock, RecordingHooks, instant_clock
from kinds import KINDS
from stored_calls import DATASET_HOOKS, appending, everything_is_stored, save_and_load, stores_in

SOURCES = str(Path(eagerly_pytest.__file__).parent)
HOOKS = [name for name in vars(EagerlySpec) if not name.startswith("_")]


@task
def double(x: int) -> int:
    return 2 * x


@task
def divide(x: int, y: int) -> float:
    return x / y


@task
def count(n: int):
    yield from range(n)


def record(hooks: RecordingHooks, metadata: object, *names: str) -> None:
    """Let `hooks` hear of a life that no real call could have, with the metadata of a real one."""
    for name in names:
        hook = getattr(hooks, name)
        arguments = dict.fromkeys(inspect.signature(hook).parameters)
        hook(**{**arguments, "metadata": metadata})


def raises_lookup_error():
    raise LookupError


@pytest.fixture
def metadata():
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        double(1)
    return hooks.events[1].metadata


class TestRecordingHooks:
    @pytest.mark.parametrize("hook", HOOKS)
    def test_implements_every_hook_with_every_argument(self, hook):
        specified = inspect.signature(getattr(EagerlySpec, hook)).parameters
        implemented = inspect.signature(getattr(RecordingHooks, hook)).parameters
        assert list(implemented) == list(specified)

    def test_remembers_what_fired_in_order_with_the_arguments(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            double(21)
        assert hooks.names() == [
            "before_session_start",
            "before_node_execute",
            "after_node_execute",
            "after_session_end",
        ]
        start, before, after, end = hooks.events
        assert start.session_id == end.session_id == before.metadata.session_id
        assert after.metadata is before.metadata
        assert after.result == 42
        assert after.arguments["result"] == 42

    def test_an_event_shows_itself_and_says_what_it_has(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks], clock=instant_clock()):
            double(21)
        after = hooks.of("double")[-1]
        assert repr(after) == "<after_node_execute 'double' result=42 duration=0.0>"
        assert repr(hooks) == "<RecordingHooks: 4 events>"
        assert copy.copy(after).result == 42
        with pytest.raises(
            AttributeError, match=r"after_node_execute has no argument 'error'; it has metadata, result"
        ):
            after.error

    def test_of_selects_by_name_or_by_call(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            double(1)
            divide(6, 3)
            double(2)
        assert [event.result for event in hooks.of("double") if event.hook == "after_node_execute"] == [2, 4]
        second = hooks.of("double")[2].metadata
        assert [event.metadata for event in hooks.of(second)] == [second, second]
        assert hooks.names(second) == ["before_node_execute", "after_node_execute"]
        assert hooks.of("nothing of that name") == []

    def test_of_finds_a_call_by_its_current_task(self):
        @task(timeout=60)
        def body():
            current_task().report("found", here=True)
            return current_task()

        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            call = body()
        assert hooks.names(call) == ["before_node_execute", "on_event", "after_node_execute"]

    def test_calls_are_apart_even_when_interleaved(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            first, second = count(2), count(1)
            for stream in (first, second, first, second, first):
                next(stream, None)
        assert [[event.hook for event in call] for call in hooks.calls()] == [
            ["before_node_execute", "node_iteration", "node_iteration", "after_node_execute"],
            ["before_node_execute", "node_iteration", "after_node_execute"],
        ]

    def test_events_is_a_copy_and_clear_forgets(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            before = hooks.events
            double(1)
            assert len(before) == 1
            hooks.clear()
            assert hooks.events == []
        assert hooks.names() == ["after_session_end"]

    def test_hears_many_threads_at_once(self):
        hooks = RecordingHooks()
        threads, calls = 8, 200
        barrier = threading.Barrier(threads, timeout=60)

        def work():
            barrier.wait()
            with session(plugins=[hooks]):
                for n in range(calls):
                    double(n)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(hooks.calls()) == threads * calls
        hooks.verify()


class TestVerify:
    def test_accepts_what_real_calls_do(self, eagerly_session, eagerly_hooks, tmp_path):
        double(1)
        with pytest.raises(ZeroDivisionError):
            divide.options(retries=2)(1, 0)
        list(count(2))
        next(count(2))
        for kind in KINDS:
            with session(**stores_in(tmp_path / kind.value)):
                everything_is_stored(kind)
                with pytest.raises(LookupError):
                    kind.run(kind.make(raises_lookup_error, cache=True))
        eagerly_hooks.verify()

    @pytest.mark.parametrize(
        ("life", "complaint"),
        [
            pytest.param(["before_node_execute"], r"started and not ended.*on_node_cancel must follow", id="no ending"),
            pytest.param(["before_node_execute", "before_node_retry"], r"started and not ended", id="only a retry"),
            pytest.param(["after_node_execute"], r"hook 0 of this call is after_node_execute", id="no start"),
            pytest.param(["before_node_execute"] * 2, r"hook 1 of this call is before_node_execute", id="two starts"),
            pytest.param(
                ["before_node_execute", "after_node_execute", "after_node_execute"],
                r"after 'returned' there may come nothing",
                id="two endings",
            ),
            pytest.param(
                ["before_node_execute", "after_node_execute", "on_node_error"],
                r"hook 2 of this call is on_node_error",
                id="two different endings",
            ),
            pytest.param(
                ["before_node_execute", "after_node_retry", "after_node_execute"],
                r"hook 1 of this call is after_node_retry",
                id="outcome of a retry that was not announced",
            ),
            pytest.param(
                ["before_node_execute", "node_iteration", "before_node_retry"],
                r"hook 2 of this call is before_node_retry, but after 'streaming'",
                id="retry after an item",
            ),
            pytest.param(
                ["on_cache_hit", "before_node_execute"],
                r"hook 1 of this call is before_node_execute, but after 'recalled' there may come nothing",
                id="a hit that runs",
            ),
            pytest.param(["on_cache_hit", "on_cache_hit"], r"after 'recalled' there may come nothing", id="two hits"),
            pytest.param(["on_cache_miss"], r"started and not ended.*there was only on_cache_miss", id="only a miss"),
            pytest.param(["on_cache_miss", "on_cache_hit"], r"hook 1 of this call is on_cache_hit", id="miss and hit"),
            pytest.param(["on_cache_miss", "after_node_execute"], r"hook 1 of this call is after_n", id="no start"),
            pytest.param(["before_node_execute", "on_cache_miss"], r"hook 1 of this call is on_cache", id="late miss"),
        ],
    )
    def test_complains_about_a_life_that_cannot_be(self, metadata, life, complaint):
        hooks = RecordingHooks()
        record(hooks, metadata, *life)
        with pytest.raises(AssertionError, match=complaint) as caught:
            hooks.verify()
        assert "of task 'double'" in str(caught.value)
        assert str(metadata.id) in str(caught.value)

    def test_complains_about_every_call_that_is_wrong(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            streams = [count(3), count(3)]
            for stream in streams:
                next(stream)
            double(1)
            with pytest.raises(AssertionError) as caught:
                hooks.verify()
            assert str(caught.value).count("of task 'count'") == 2
            assert "double" not in str(caught.value)

    def test_calls_that_still_run_can_be_allowed(self):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            stream = count(3)
            next(stream)
            hooks.verify(allow_running=True)
            stream.close()
            hooks.verify()

    def test_allowing_running_calls_allows_nothing_else(self, metadata):
        hooks = RecordingHooks()
        record(hooks, metadata, "before_node_execute", "after_node_execute", "on_node_cancel")
        with pytest.raises(AssertionError, match="hook 2 of this call is on_node_cancel"):
            hooks.verify(allow_running=True)

    @pytest.mark.parametrize("hook", ["on_cache_error", *DATASET_HOOKS])
    def test_errors_of_the_cache_and_datasets_may_come_anywhere(self, metadata, hook):
        hooks = RecordingHooks()
        record(hooks, metadata, hook, "on_cache_miss", hook, "before_node_execute", hook, "after_node_execute", hook)
        hooks.verify()

    def test_datasets_outside_of_tasks_are_no_part_of_any_life(self, tmp_path):
        hooks = RecordingHooks()
        with session(plugins=[hooks], **stores_in(tmp_path)):
            save_and_load()
        assert [event.metadata for event in hooks.events if event.hook in DATASET_HOOKS] == [None] * 4
        assert hooks.calls() == []
        hooks.verify()

    def test_events_of_the_users_own_are_no_part_of_a_life(self, metadata):
        hooks = RecordingHooks()
        record(hooks, metadata, "on_event", "before_node_execute", "on_event", "after_node_execute", "on_event")
        hooks.verify()

    def test_nothing_recorded_is_nothing_wrong(self):
        RecordingHooks().verify()


class TestInstantClock:
    def test_stands_still_until_slept_on(self):
        clock = instant_clock()
        assert isinstance(clock, Clock)
        assert clock.now() == clock.now() == 0.0
        clock.sleep(2.5)
        clock.advance(0.5)
        assert clock.now() == 3.0
        assert clock.sleeps == [2.5]

    def test_starts_where_it_is_told(self):
        assert instant_clock(start=100.0).now() == 100.0

    def test_retries_wait_on_it(self, eagerly_session, eagerly_clock):
        @task(retries=Retry(3, delay=60, max_delay=3600, jitter=0))
        def fetch():
            raise ConnectionError

        with pytest.raises(ConnectionError):
            fetch()
        assert eagerly_clock.sleeps == [60, 120, 240]
        assert eagerly_clock.now() == 420

    async def test_async_sleep_gives_others_their_turn(self):
        clock = instant_clock()
        order = []

        async def sleeper():
            order.append("asleep")
            await clock.async_sleep(3600)
            order.append("awake")

        async def other():
            order.append("other")

        await asyncio.gather(sleeper(), other())
        assert order == ["asleep", "other", "awake"]
        assert clock.now() == 3600
        assert clock.sleeps == [3600]

    async def test_async_sleep_can_be_cancelled_and_then_took_no_time(self):
        clock = instant_clock()
        sleeper = asyncio.create_task(clock.async_sleep(3600))
        await asyncio.sleep(0)
        assert clock.sleeps == [3600]
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        assert clock.now() == 0.0

    def test_adds_up_the_sleeps_of_many_threads(self):
        clock = instant_clock()
        threads, naps = 8, 500
        barrier = threading.Barrier(threads, timeout=60)

        def work():
            barrier.wait()
            for _ in range(naps):
                clock.sleep(1)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert clock.now() == len(clock.sleeps) == threads * naps

    @pytest.mark.parametrize("seconds", [-1, float("nan")])
    def test_never_goes_backwards(self, seconds):
        with pytest.raises(ValueError, match="must be finite and 0 or more"):
            instant_clock().advance(seconds)

    def test_takes_a_timedelta_like_the_rest_of_the_library(self):
        clock = instant_clock()
        clock.advance(timedelta(minutes=1))
        assert clock.now() == 60.0

    def test_unix_time_passes_as_its_own_does(self):
        clock = instant_clock(start=100.0)
        before = clock.time()
        clock.sleep(2.5)
        clock.advance(0.5)
        assert clock.time() - before == pytest.approx(3.0)

    def test_unix_time_is_that_of_its_making(self):
        earliest = time.time()
        clock = instant_clock(start=100.0)
        assert earliest - 1e-3 <= clock.time() <= time.time() + 1e-3

    def test_cached_results_expire_on_it(self, eagerly_session, eagerly_clock):
        runs = []
        made = task(appending(runs, 1), name="made", cache=True, cache_version="1", cache_ttl=60)
        with session(cache_store="memory://"):
            made()
            eagerly_clock.advance(59)
            made()
            assert len(runs) == 1
            eagerly_clock.advance(2)
            made()
            assert len(runs) == 2

    def test_shows_itself(self):
        clock = InstantClock(1.5)
        clock.sleep(1)
        assert repr(clock) == "<InstantClock at 2.5 s, 1 sleeps>"


class TestPytestPlugin:
    def test_the_session_is_open_in_the_test(self, eagerly_session, eagerly_hooks, eagerly_clock):
        assert current_session() is eagerly_session
        assert eagerly_session.plugins[-1] is eagerly_hooks
        assert eagerly_session.clock is eagerly_clock
        assert eagerly_session.settings.strict_hooks is True

    async def test_the_session_is_open_in_an_async_test(self, eagerly_session, eagerly_hooks):
        assert current_session() is eagerly_session
        double(1)
        assert eagerly_hooks.names("double") == ["before_node_execute", "after_node_execute"]

    def test_importing_it_does_not_import_the_library(self):
        script = (
            "import sys, eagerly_pytest; print(sorted(name for name in sys.modules if name.split('.')[0] == 'eagerly'))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    @pytest.fixture
    def run_tests(self, tmp_path):
        """Run a file of tests in a pytest of its own and give its output."""

        def run(source: str, *arguments: str) -> str:
            (tmp_path / "test_theirs.py").write_text(source)
            (tmp_path / "conftest.py").write_text(CONFTEST)
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", *arguments, "."]
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": SOURCES},
                capture_output=True,
                text=True,
                check=False,
            )
            return done.stdout

        return run

    def test_fixtures_are_listed_with_their_manual(self, run_tests):
        listing = run_tests("", "--fixtures")
        for name, manual in {
            "eagerly_session": "records hooks, never sleeps",
            "eagerly_hooks": "every hook that fires",
            "eagerly_clock": "nobody waits",
        }.items():
            assert manual in listing.partition(name)[2]

    def test_a_call_without_ending_fails_the_test_at_teardown(self, run_tests):
        output = run_tests(
            "from eagerly import task\n"
            "kept = []\n"
            "@task\n"
            "def count():\n"
            "    yield 1\n"
            "    yield 2\n"
            "def test_leaves_a_stream_open(eagerly_session):\n"
            "    kept.append(count())\n"
            "    next(kept[0])\n"
        )
        assert "1 passed, 1 error" in output
        assert "of task 'count': it has started and not ended" in output

    def test_a_hook_that_fails_fails_the_test(self, run_tests):
        output = run_tests(
            "from eagerly import hook_impl, session, task\n"
            "class Broken:\n"
            "    @hook_impl\n"
            "    def after_node_execute(self, result):\n"
            "        raise LookupError('broken hook')\n"
            "@task\n"
            "def double(x):\n"
            "    return 2 * x\n"
            "def test_broken(eagerly_session):\n"
            "    with session(plugins=[Broken()]):\n"
            "        double(1)\n"
        )
        assert "1 failed" in output
        assert "LookupError: broken hook" in output

    def test_the_session_ends_with_the_test(self, run_tests):
        output = run_tests(
            "from eagerly import current_session\n"
            "def test_inside(eagerly_session):\n"
            "    assert current_session() is eagerly_session\n"
            "def test_outside():\n"
            "    assert current_session() is None\n"
        )
        assert "2 passed" in output

    @pytest.mark.parametrize("scope", ["function", "module"])
    def test_async_tests_are_in_the_session_whatever_their_loop(self, run_tests, scope):
        output = run_tests(
            "import pytest\n"
            "from eagerly import current_session\n"
            f"pytestmark = pytest.mark.asyncio(loop_scope={scope!r})\n"
            "async def test_before():\n"
            "    assert current_session() is None\n"
            "async def test_inside(eagerly_session):\n"
            "    assert current_session() is eagerly_session\n"
            "async def test_after():\n"
            "    assert current_session() is None\n"
        )
        assert "3 passed" in output


CONFTEST = """
import eagerly_pytest

def pytest_configure(config):
    if not config.pluginmanager.is_registered(eagerly_pytest):
        config.pluginmanager.register(eagerly_pytest)
"""
"""As in our own conftest: the entry point does this where eagerly is installed."""
