"""One computation of a key at a time, in one process: threads, event loops, and both at once.

Whoever leads is stopped in the body of its task until as many others wait for it as the test wants. Several processes
are in test_cache_once_processes.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eagerly import ContextExecutor, Retry, session, task
from eagerly.cache import DiskStore, MemoryStore
from eagerly.errors import CacheRecursionError, EagerlyWarning, TaskError, TaskTimeoutError
from eagerly.testing import RecordingHooks, instant_clock
from flights import (
    PATIENCE,
    Body,
    Calling,
    Gate,
    GatedStore,
    auntil,
    calling,
    flights,
    followers,
    until,
    until_followed,
)
from stored_calls import DictStore

LEADER = ["on_cache_miss", "before_node_execute", "after_node_execute"]
FAILED = ["on_cache_miss", "before_node_execute", "on_node_error"]


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    return GatedStore(tmp_path / "cache")


@pytest.fixture
def hooks(store: GatedStore) -> Iterator[RecordingHooks]:
    """In a session; every call in it must have lived a life, and nothing may be under way when it ends."""
    recording = RecordingHooks()
    with session(cache_store=store, plugins=[recording], clock=instant_clock()):
        yield recording
    recording.verify()
    assert flights(store) == 0


@pytest.fixture
def body() -> Body:
    return Body()


def cached(function: Any, name: str = "work", **options: Any) -> Any:
    function.__name__ = name  # lambdas have none, by which results could be told apart
    function.__qualname__ = function.__qualname__.replace("<lambda>", name)
    return task(function, name=name, cache=True, cache_version="1", **options)


def shared(function: Any, inputs: dict[str, Any]) -> str:
    return f"shared {inputs['x']}"


def make_pair(body: Body) -> tuple[Any, Any]:
    """A sync and an async task whose results are the same entry."""
    return (
        task(lambda x: body(x), name="work", cache=True, cache_hash=shared),
        task(_turning(body), name="work", cache=True, cache_hash=shared),
    )


def _turning(body: Body) -> Any:
    async def turn(x: Any) -> Any:
        return await body.turn(x)

    return turn


def names_by_call(hooks: RecordingHooks) -> list[list[str]]:
    return [[event.hook for event in call] for call in hooks.calls()]


class TestOnce:
    def test_threads(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(lambda x: body(x))
        first = Calling(work, 1)
        body.wait_for_run()
        others = calling(7, work, 1)
        until_followed(store, 7)
        body.go.set()
        results = [each.result() for each in (first, *others)]
        assert results == [[1]] * 8
        assert len({id(result) for result in results}) == 8  # nobody has what another may change
        assert body.runs == [1]
        assert sorted(names_by_call(hooks), key=len) == [["on_cache_hit"]] * 7 + [LEADER]

    def test_asyncio(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(_turning(body))

        async def main() -> list[Any]:
            calls = [asyncio.create_task(work(1)) for _ in range(50)]
            await auntil(lambda: followers(store) == 49, "all wait")
            body.go.set()
            return await asyncio.gather(*calls)

        results = asyncio.run(main())
        assert results == [[1]] * 50
        assert len({id(result) for result in results}) == 50
        assert body.runs == [1]
        assert sorted(names_by_call(hooks), key=len) == [["on_cache_hit"]] * 49 + [LEADER]

    @pytest.mark.parametrize("leader", ["sync", "async"])
    def test_threads_and_asyncio(self, store: GatedStore, hooks: RecordingHooks, body: Body, leader: str) -> None:
        work, awork = make_pair(body)

        async def main() -> list[Any]:
            first: Any = asyncio.to_thread(work, 1) if leader == "sync" else awork(1)
            calls = [asyncio.create_task(first)]
            await body.await_run()
            threads = calling(4, work, 1)
            calls += [asyncio.create_task(awork(1)) for _ in range(10)]
            await auntil(lambda: followers(store) == 14, "all wait")
            body.go.set()
            results = list(await asyncio.gather(*calls))
            return results + [thread.result() for thread in threads]

        assert asyncio.run(main()) == [[1]] * 15
        assert body.runs == [1]

    def test_several_loops(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(_turning(body))

        async def main() -> list[Any]:
            return await asyncio.gather(*[work(1) for _ in range(5)])

        loops = [Calling(lambda: asyncio.run(main())) for _ in range(3)]
        until_followed(store, 14)
        body.go.set()
        assert [loop.result() for loop in loops] == [[[1]] * 5] * 3
        assert body.runs == [1]

    def test_what_differs_does_not_wait(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(lambda x: body(x))
        calls = [Calling(work, x) for x in range(4)]
        for _ in calls:
            body.wait_for_run()
        body.go.set()
        assert [call.result() for call in calls] == [[0], [1], [2], [3]]

    @pytest.mark.parametrize("make", [MemoryStore, DictStore, lambda: DictStore(blocking=True)])
    def test_other_stores(self, body: Body, make: Callable[[], Any]) -> None:
        work, awork = make_pair(body)
        store = make()

        async def main() -> list[Any]:
            threads = calling(3, work, 1)
            calls = [asyncio.create_task(awork(1)) for _ in range(3)]
            await auntil(lambda: followers(store) == 5, "all wait")
            body.go.set()
            return [*await asyncio.gather(*calls), *[thread.result() for thread in threads]]

        with session(cache_store=store):
            assert asyncio.run(main()) == [[1]] * 6
        assert body.runs == [1]

    def test_a_hit_takes_no_lock(self, store: GatedStore, hooks: RecordingHooks) -> None:
        work = cached(lambda x: [x])
        work(1)
        assert store.count("try_lock") == 1
        for _ in range(3):
            work(1)
        work([1])  # takes the long way, as its argument is no small one
        work([1])
        assert store.count("try_lock") == 2

    def test_first_calls_at_once_share_what_waits(self, body: Body) -> None:
        """Two threads that use a store for the first time at the same time make one client of it."""
        together = threading.Barrier(2)
        armed = threading.Event()

        class Slow(DictStore):
            @property
            def blocking(self) -> bool:
                if armed.is_set():
                    with contextlib.suppress(threading.BrokenBarrierError):
                        together.wait(1)
                return False

            @blocking.setter
            def blocking(self, value: bool) -> None: ...

        store = Slow()
        work = cached(lambda x: body(x), cache_store=store)
        armed.set()
        calls = calling(2, work, 1)
        until(lambda: followers(store) == 1 or len(body.runs) == 2, "one waits")
        body.go.set()
        assert [call.result() for call in calls] == [[1], [1]]
        assert body.runs == [1]


class TestErrors:
    def test_reach_threads(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        def fail(x: Any) -> Any:
            raise ValueError(body(x))

        work = cached(fail, retries=Retry(2, delay=1))
        calls = calling(1, work, 1)
        body.wait_for_run()
        calls += calling(4, work, 1)
        until_followed(store, 4)
        body.go.set()
        errors = [call.outcome() for call in calls]
        assert isinstance(errors[0], ValueError)
        assert all(error is errors[0] for error in errors)
        assert body.runs == [1, 1, 1]  # one call, and its retries
        assert len(errors[0].__notes__) == 1
        assert sorted(names_by_call(hooks), key=len)[:4] == [FAILED] * 4
        assert not work.is_cached(1)
        with pytest.raises(ValueError, match="1"):
            work(1)
        assert body.runs == [1] * 6

    def test_reach_asyncio(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        async def fail(x: Any) -> Any:
            raise ValueError(await body.turn(x))

        work = cached(fail, retries=1)

        async def main() -> list[Any]:
            calls = [asyncio.create_task(work(1)) for _ in range(20)]
            await auntil(lambda: followers(store) == 19, "all wait")
            body.go.set()
            return await asyncio.gather(*calls, return_exceptions=True)

        errors = asyncio.run(main())
        assert isinstance(errors[0], ValueError)
        assert all(error is errors[0] for error in errors)
        assert body.runs == [1, 1]
        assert not work.is_cached(1)

    def test_a_later_call_starts_anew(self, hooks: RecordingHooks) -> None:
        outcomes: list[Any] = [ValueError("no"), "yes"]

        def once(x: int) -> Any:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        work = cached(once)
        with pytest.raises(ValueError, match="no"):
            work(1)
        assert (work(1), work(1)) == ("yes", "yes")

    def test_stop_iteration(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        """An error like others, for a function; plans are generators, which it would end."""

        def fail(x: Any) -> Any:
            body(x)
            raise StopIteration("the end")

        calls = calling(1, work := cached(fail), 1)
        body.wait_for_run()
        calls += calling(2, work, 1)
        until_followed(store, 2)
        body.go.set()
        assert [repr(call.outcome()) for call in calls] == ["StopIteration('the end')"] * 3

    @pytest.mark.parametrize("leader_wraps", [False, True])
    def test_wrapped_as_each_call_wants_it(
        self, store: GatedStore, hooks: RecordingHooks, body: Body, leader_wraps: bool
    ) -> None:
        def fail(x: Any) -> Any:
            raise ValueError(body(x))

        work = cached(fail)
        leader = Calling(work.options(wrap_errors=leader_wraps), 1)
        body.wait_for_run()
        follower = Calling(work.options(wrap_errors=not leader_wraps), 1)
        until_followed(store, 1)
        body.go.set()
        outcomes = [leader.outcome(), follower.outcome()]
        wrapped, plain = outcomes if leader_wraps else outcomes[::-1]
        assert isinstance(wrapped, TaskError)
        assert isinstance(plain, ValueError)
        assert wrapped.__cause__ is plain

    def test_a_timeout_of_the_leader_reaches_all(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(lambda x: body(x), timeout=0.3)
        calls = calling(1, work, 1)
        body.wait_for_run()
        calls += calling(3, work, 1)
        errors = [call.outcome() for call in calls]
        assert {type(error) for error in errors} == {TaskTimeoutError}
        body.go.set()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_interruptions_are_of_the_leader_alone(
        self, store: GatedStore, hooks: RecordingHooks, body: Body, error: type[BaseException]
    ) -> None:
        def interrupted(x: Any) -> Any:
            result = body(x)
            if len(body.runs) == 1:
                raise error
            return result

        work = cached(interrupted)
        leader = Calling(work, 1)
        body.wait_for_run()
        others = calling(3, work, 1)
        until_followed(store, 3)
        body.go.set()
        assert type(leader.outcome()) is error
        assert [other.result() for other in others] == [[1]] * 3
        assert body.runs == [1, 1]  # the first, and one of those that waited

    def test_ctrl_c_ends_a_wait(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        import _thread

        work = cached(lambda x: body(x))
        leader = Calling(work, 1)
        body.wait_for_run()

        def press() -> None:
            until_followed(store, 1)
            _thread.interrupt_main()

        pressing = Calling(press)
        with pytest.raises(KeyboardInterrupt):
            work(1)
        pressing.result()
        body.go.set()
        assert leader.result() == [1]
        assert body.runs == [1]

    def test_a_hook_that_fails_is_of_its_call_alone(self, store: GatedStore, body: Body) -> None:
        """What a strict hook raises in the leader is no error of the function."""
        from eagerly import Settings, hook_impl

        class Refuses:
            def __init__(self) -> None:
                self.asked = 0

            @hook_impl
            def after_node_execute(self) -> None:
                self.asked += 1
                if self.asked == 1:
                    raise PermissionError("not you")

        work = cached(lambda x: body(x))
        with session(cache_store=store, plugins=[Refuses()], settings=Settings(strict_hooks=True)):
            leader = Calling(work, 1)
            body.wait_for_run()
            others = calling(2, work, 1)
            until_followed(store, 2)
            body.go.set()
            assert isinstance(leader.outcome(), Exception)
            assert [other.result() for other in others] == [[1]] * 2
        assert flights(store) == 0


class TestCancellation:
    def test_of_the_first_caller(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(_turning(body))

        async def main() -> None:
            first = asyncio.create_task(work(1))
            await body.await_run()
            others = [asyncio.create_task(work(1)) for _ in range(5)]
            await auntil(lambda: followers(store) == 5, "all wait")
            first.cancel()
            await body.await_run()  # another one goes on in its place
            body.go.set()
            assert await asyncio.gather(*others) == [[1]] * 5
            with pytest.raises(asyncio.CancelledError):
                await first

        asyncio.run(main())
        assert body.runs == [1, 1]

    def test_of_one_who_waits(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(_turning(body))

        async def main() -> None:
            first = asyncio.create_task(work(1))
            await body.await_run()
            others = [asyncio.create_task(work(1)) for _ in range(3)]
            await auntil(lambda: followers(store) == 3, "all wait")
            others[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await others[1]
            body.go.set()
            assert await asyncio.gather(first, others[0], others[2]) == [[1]] * 3

        asyncio.run(main())
        assert body.runs == [1]

    def test_of_all_leaves_nothing(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(_turning(body))

        async def main() -> None:
            calls = [asyncio.create_task(work(1)) for _ in range(4)]
            await auntil(lambda: followers(store) == 3 and body.runs == [1], "one runs and all others wait")
            for call in calls:
                call.cancel()
            assert {type(end) for end in await asyncio.gather(*calls, return_exceptions=True)} == {
                asyncio.CancelledError
            }
            assert flights(store) == 0
            body.go.set()
            assert await work(1) == [1]

        asyncio.run(main())
        assert body.runs == [1, 1]

    def test_asyncio_timeout_around_the_first(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work = cached(_turning(body))

        async def main() -> None:
            async def impatient() -> Any:
                async with asyncio.timeout(0.2):
                    return await work(1)

            first = asyncio.create_task(impatient())
            await body.await_run()
            other = asyncio.create_task(work(1))
            with pytest.raises(TimeoutError):
                await first
            body.go.set()
            assert await other == [1]

        asyncio.run(main())

    def test_while_the_lock_is_being_taken(self, store: GatedStore, hooks: RecordingHooks) -> None:
        """The thread that takes the lock has nobody left to give it to."""
        gate, taken = Gate(), threading.Event()
        store.gates["try_lock"] = gate
        store.afterwards["get"] = lambda: taken.set() if gate.open.is_set() else None

        async def double(x: int) -> int:
            return 2 * x

        work = cached(double)

        async def main() -> None:
            call = asyncio.create_task(work(1))
            await auntil(gate.reached.is_set, "the lock is taken")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            gate.open.set()
            await auntil(taken.is_set, "the lock was taken")

        asyncio.run(main())
        key = bytes.fromhex(work.cache_key(1))

        def is_free() -> bool:
            lock = DiskStore.try_lock(store, key)
            if lock is not None:
                lock.release()
            return lock is not None

        until(is_free, "the lock is free")

    def test_while_the_result_is_being_stored(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        """It is computed, and will be there in a moment: nobody computes it again."""
        gate = store.gates["put"] = Gate()
        work = cached(_turning(body))
        body.go.set()

        async def main() -> None:
            first = asyncio.create_task(work(1))
            await auntil(gate.reached.is_set, "the result is being stored")
            others = [asyncio.create_task(work(1)) for _ in range(3)]
            await auntil(lambda: followers(store) == 3, "all wait")
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            for _ in range(20):
                await asyncio.sleep(0)  # whoever would compute it now begins
            gate.open.set()
            assert await asyncio.gather(*others) == [[1]] * 3

        asyncio.run(main())
        assert body.runs == [1]

    def test_coroutines_that_are_dropped(self, store: GatedStore, body: Body) -> None:
        """An event loop that ends in the middle leaves a leader that never goes on, until it is cleared away."""
        work = cached(_turning(body))
        with session(cache_store=store):
            loop = asyncio.new_event_loop()
            call = work(1)
            pending = loop.create_task(call)
            loop.run_until_complete(body.await_run())
            assert flights(store) == 1
            pending._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()
            del pending, call, loop
            gc.collect()
            assert flights(store) == 0
            body.go.set()
            assert asyncio.run(work(1)) == [1]


class TestRecursion:
    def test_sync(self, hooks: RecordingHooks) -> None:
        work = cached(lambda x: work(x))
        with pytest.raises(CacheRecursionError, match=r"'work' was called, with the same arguments") as caught:
            work(1)
        assert isinstance(caught.value, RecursionError)
        assert not work.is_cached(1)

    @pytest.mark.parametrize("spawn", [False, True], ids=["awaited", "in a task of its own"])
    def test_async(self, hooks: RecordingHooks, spawn: bool) -> None:
        async def again(x: int) -> Any:
            return await (asyncio.create_task(work(x)) if spawn else work(x))

        work = cached(again)
        with pytest.raises(CacheRecursionError):
            asyncio.run(work(1))

    def test_through_another_task(self, hooks: RecordingHooks) -> None:
        there = cached(lambda x: back(x))
        back = cached(lambda x: there(x), "back")
        with pytest.raises(CacheRecursionError):
            there(1)

    def test_through_a_stream_and_a_session(self, store: GatedStore, hooks: RecordingHooks) -> None:
        @task
        def stream(x: int) -> Iterator[Any]:
            with session():
                yield work(x)

        work = cached(lambda x: list(stream(x)))
        with pytest.raises(CacheRecursionError):
            work(1)

    def test_through_threads(self, hooks: RecordingHooks) -> None:
        with ContextExecutor(ThreadPoolExecutor(2)) as pool:
            work = cached(lambda x: pool.submit(work, x).result(PATIENCE))
            with pytest.raises(CacheRecursionError):
                work(1)

    def test_through_to_thread_and_back(self, hooks: RecordingHooks) -> None:
        async def again(x: int) -> Any:
            return await asyncio.to_thread(lambda: asyncio.run(work(x)))

        work = cached(again)
        with pytest.raises(CacheRecursionError):
            asyncio.run(work(1))

    def test_of_methods(self, hooks: RecordingHooks) -> None:
        @dataclasses.dataclass
        class Node:
            value: int

            @task(cache=True, cache_version="1")
            def total(self) -> int:
                return Node(self.value).total()

        with pytest.raises(CacheRecursionError):
            Node(1).total()

    def test_with_a_timeout_and_retries(self, hooks: RecordingHooks) -> None:
        runs = []

        def again(x: int) -> Any:
            runs.append(x)
            return work(x)

        work = cached(again, timeout=PATIENCE, retries=1)
        with pytest.raises(CacheRecursionError):
            work(1)
        assert runs == [1, 1]

    def test_other_arguments_are_no_recursion(self, hooks: RecordingHooks) -> None:
        fib = cached(lambda n: n if n < 2 else fib(n - 1) + fib(n - 2))
        assert fib(30) == 832040

    def test_a_body_that_lives_with_it(self, hooks: RecordingHooks) -> None:
        def careful(x: int) -> Any:
            try:
                return work(x)
            except CacheRecursionError:
                return "found out"

        work = cached(careful)
        assert (work(1), work(1)) == ("found out", "found out")

    def test_through_another_store_object_of_the_same_directory(self, tmp_path: Path, hooks: RecordingHooks) -> None:
        def again(x: int) -> Any:
            with session(cache_store=DiskStore(tmp_path / "cache")):
                return work(x)

        work = cached(again)
        assert isinstance(Calling(work, 1).outcome(10), RecursionError)


class TestOppositeOrder:
    """Calls that wait for each other: none may wait for ever. Some run twice instead."""

    def _crosswise(self, count: int, meet: Callable[[], object]) -> list[Any]:
        """Tasks of which each calls the next one, in a circle, when all have begun."""

        def make(index: int) -> Any:
            def node(x: int, depth: int = 0) -> Any:
                if depth:
                    return index
                meet()
                return [index, tasks[(index + 1) % count](x, 1)]

            return task(node, name=f"node {index}", cache=True, cache_version=str(index), cache_ignore=("depth",))

        tasks = [make(index) for index in range(count)]
        return tasks

    @pytest.mark.parametrize("count", [2, 3, 8])
    def test_threads(self, hooks: RecordingHooks, count: int) -> None:
        meeting = threading.Barrier(count, timeout=PATIENCE)
        calls = [Calling(node, 1) for node in self._crosswise(count, meeting.wait)]
        for index, call in enumerate(calls):
            own, following = call.result()
            assert own == index
            assert following in ((index + 1) % count, [(index + 1) % count, (index + 2) % count]) or isinstance(
                following, list
            )

    @pytest.mark.parametrize("count", [2, 3, 8])
    def test_asyncio(self, hooks: RecordingHooks, count: int) -> None:
        async def main() -> list[Any]:
            meeting = asyncio.Barrier(count)

            def make(index: int) -> Any:
                async def node(x: int, depth: int = 0) -> Any:
                    if depth:
                        return index
                    await meeting.wait()
                    return [index, await tasks[(index + 1) % count](x, 1)]

                return task(node, name=f"n{index}", cache=True, cache_version=str(index), cache_ignore=("depth",))

            tasks = [make(index) for index in range(count)]
            return await asyncio.wait_for(asyncio.gather(*[node(1) for node in tasks]), PATIENCE)

        assert [result[0] for result in asyncio.run(main())] == list(range(count))

    def test_a_gather_of_what_calls_back(self, hooks: RecordingHooks) -> None:
        """One computation waits for several others at once, one of which waits for it."""

        async def main() -> list[Any]:
            meeting = asyncio.Barrier(3)

            async def one(x: int, depth: int = 0) -> Any:
                if depth:
                    return "leaf"
                await meeting.wait()
                return await asyncio.gather(two(x, 1), three(x, 1))

            async def other(x: int, depth: int = 0) -> Any:
                if not depth:
                    await meeting.wait()
                    await first(x, 1)
                return "other"

            def make(name: str, function: Any) -> Any:
                return task(function, name=name, cache=True, cache_version=name, cache_ignore=("depth",))

            first, two, three = make("one", one), make("two", other), make("three", other)
            return await asyncio.wait_for(asyncio.gather(first(1), two(1), three(1)), PATIENCE)

        assert asyncio.run(main()) == [["other", "other"], "other", "other"]

    def test_two_store_objects_of_one_directory(self, tmp_path: Path) -> None:
        meeting = threading.Barrier(2, timeout=PATIENCE)
        tasks = self._crosswise(2, meeting.wait)

        def call(node: Any) -> Any:
            with session(cache_store=DiskStore(tmp_path / "cache")):
                return node(1)

        calls = [Calling(call, node) for node in tasks]
        assert [call.result(10)[0] for call in calls] == [0, 1]

    def test_two_stores(self, tmp_path: Path) -> None:
        meeting = threading.Barrier(2, timeout=PATIENCE)
        left, right = self._crosswise(2, meeting.wait)
        tasks = {"left": left.options(cache_store=tmp_path / "l"), "right": right.options(cache_store=tmp_path / "r")}
        left_calls, right_calls = Calling(tasks["left"], 1), Calling(tasks["right"], 1)
        assert left_calls.result()[0] == 0
        assert right_calls.result()[0] == 1


class TestOnALoop:
    """A sync call on the thread of an event loop must not wait for what that loop has to do."""

    def test_the_same_key(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        work, awork = make_pair(body)

        async def main() -> Any:
            leader = asyncio.create_task(awork(1))
            await body.await_run()
            body.go.set()
            return work(1), await leader

        call = Calling(lambda: asyncio.run(main()))
        assert call.result() == ([1], [1])
        assert body.runs == [1, 1]

    @pytest.mark.parametrize("sync_first", [False, True])
    def test_through_another_thread(self, store: GatedStore, hooks: RecordingHooks, sync_first: bool) -> None:
        """The loop waits for a thread that waits for the loop."""
        go_on, running, finish = threading.Event(), threading.Event(), asyncio.Event()

        async def slow(x: str) -> str:
            await finish.wait()
            return x

        aslow = task(slow, name="aslow", cache=True, cache_hash=lambda f, i: "slow")
        same = task(lambda x: x, name="slow", cache=True, cache_hash=lambda f, i: "slow")

        def in_between(x: str) -> Any:
            running.set()
            assert go_on.wait(PATIENCE)
            return [same(x)]

        between = cached(in_between)

        async def main() -> Any:
            leader = asyncio.create_task(aslow("x"))
            await asyncio.sleep(0)
            await auntil(lambda: flights(store) == 1 and store.count("try_lock") == 1, "it leads")
            thread = Calling(between, "x")
            assert running.wait(PATIENCE)
            expected = followers(store) + 1
            if sync_first:  # it goes on when this thread waits for it
                Calling(lambda: (until(lambda: followers(store) >= expected, "the loop waits"), go_on.set()))
            else:
                go_on.set()
                until(lambda: followers(store) >= expected, "the thread waits")
            here = between("x")
            finish.set()
            return here, await leader, thread.result()

        assert Calling(lambda: asyncio.run(main())).result(10) == (["x"], "x", ["x"])


class TestTrouble:
    """Whatever a store does, the value is right, and nobody waits for ever."""

    @pytest.mark.parametrize("method", ["get", "put", "try_lock"])
    @pytest.mark.parametrize("error", [OSError("the disk has gone"), StopIteration(1)], ids=["OSError", "Stop"])
    @pytest.mark.filterwarnings("ignore:the cache failed")
    def test_a_store_that_fails(self, store: GatedStore, hooks: RecordingHooks, method: str, error: Exception) -> None:
        store.fails[method] = error
        body = Body()
        work, awork = make_pair(body)

        async def main() -> Any:
            calls = [asyncio.create_task(awork(1)) for _ in range(2)]
            threads = calling(2, work, 1)
            await auntil(lambda: followers(store) == 3, "all wait")
            body.go.set()
            return [*await asyncio.gather(*calls), *[thread.result() for thread in threads]]

        assert asyncio.run(main()) == [[1]] * 4
        assert "on_cache_error" in hooks.names("work")
        if method != "get":  # they can be told without the store
            assert body.runs == [1]

    def test_one_warning(self, store: GatedStore, hooks: RecordingHooks) -> None:
        store.fails["put"] = OSError("the disk has gone")
        work = cached(lambda x: [x])
        with pytest.warns(EagerlyWarning, match="goes on without it: OSError: the disk has gone") as warned:
            assert [work(1), work(1), work(2)] == [[1], [1], [2]]
        assert len(warned) == 1
        assert hooks.names("work").count("on_cache_error") == 3

    @pytest.mark.filterwarnings("ignore:the cache failed")
    def test_results_that_nobody_can_pickle(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        def opened(x: Any) -> Any:
            body(x)
            return threading.Lock()

        work = cached(opened)
        calls = calling(1, work, 1)
        body.wait_for_run()
        calls += calling(3, work, 1)
        until_followed(store, 3)
        body.go.set()
        assert len({id(call.result()) for call in calls}) == 4  # each has one of its own
        assert len(body.runs) == 4

    @pytest.mark.filterwarnings("ignore:the cache failed")
    def test_results_that_nobody_can_pickle_do_not_queue(
        self, store: GatedStore, hooks: RecordingHooks, body: Body
    ) -> None:
        """Once that is known, those who waited run at the same time, as they would without a cache."""
        together = threading.Barrier(3, timeout=2)

        def opened(x: Any) -> Any:
            body(x)
            if len(body.runs) > 1:
                together.wait()
            return threading.Lock()

        work = cached(opened)
        calls = calling(1, work, 1)
        body.wait_for_run()
        calls += calling(3, work, 1)
        until_followed(store, 3)
        body.go.set()
        assert not [call.outcome() for call in calls if isinstance(call.outcome(), BaseException)]

    @pytest.mark.filterwarnings("ignore:the cache failed")
    def test_results_that_cannot_be_unpickled(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        """Those who waited for one compute it, though it could not even be stored."""
        store.fails["put"] = OSError("full")

        class Odd(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__(one)

        def odd(x: Any) -> Any:
            body(x)
            return Odd(x, 2)

        work = cached(odd)
        calls = calling(1, work, 1)
        body.wait_for_run()
        calls += calling(2, work, 1)
        until_followed(store, 2)
        body.go.set()
        assert [type(call.outcome()).__name__ for call in calls] == ["Odd"] * 3

    @pytest.mark.filterwarnings("ignore:the cache failed")
    def test_no_thread_left_to_store_it(self, store: GatedStore, hooks: RecordingHooks, body: Body) -> None:
        """Where the system has no thread to give, nobody waits for ever."""
        work = cached(_turning(body))
        busy = Gate()

        async def main() -> Any:
            first = asyncio.create_task(work(1))
            await body.await_run()
            other = asyncio.create_task(work(1))
            await auntil(lambda: followers(store) == 1, "the other waits")
            store.gates["get"] = busy
            takers = []
            from eagerly import _threads

            while _threads._idle:  # keep every helper thread busy
                takers.append(asyncio.create_task(work(len(takers) + 10)))
                await asyncio.sleep(0)
            size = threading.stack_size(1 << 46)
            try:
                body.go.set()
                result = await asyncio.wait_for(first, PATIENCE)
            finally:
                threading.stack_size(size)
            busy.open.set()
            return result, await asyncio.wait_for(other, 10), await asyncio.gather(*takers)

        result, other, _ = asyncio.run(main())
        assert (result, other) == ([1], [1])

    @pytest.mark.filterwarnings("ignore:the cache failed")
    def test_a_mark_that_cannot_be_taken_back(self, tmp_path: Path, store: GatedStore, hooks: RecordingHooks) -> None:
        store.fails["unmark_waiting"] = OSError("gone")
        inner = cached(lambda x: [x])
        outer = cached(lambda x: inner(x), "outer")
        lock = DiskStore(store.path).try_lock(bytes.fromhex(inner.cache_key(1)))  # as if another process had it
        assert lock is not None
        call = Calling(outer, 1)
        until(lambda: store.count("mark_waiting") == 1, "it waits")
        lock.release()
        assert call.result() == [1]

    def test_what_was_found_in_the_last_moment_leaves_no_lock(self) -> None:
        """Somebody else publishes between the look and the lock; the lock is given back all the same."""

        class Late(MemoryStore):
            planted: Callable[[], object] | None = None

            def get(self, key: bytes, /) -> Any:
                found = super().get(key)
                plant, self.planted = self.planted, None
                if plant is not None:
                    plant()
                return found

        runs: list[int] = []

        def count(x: int) -> list[int]:
            runs.append(x)
            return [x]

        work, store = cached(count), Late()
        with session(cache_store=store):
            store.planted = lambda: work(1)
            assert work(1) == [1]
            assert runs == [1]
            assert work.invalidate(1)
            assert Calling(work, 1).result(10) == [1]


class TestStoreObjects:
    def test_two_of_one_directory(self, tmp_path: Path, body: Body) -> None:
        first, second = DiskStore(tmp_path / "cache"), GatedStore(tmp_path / "cache")
        work = cached(lambda x: body(x))

        def call(store: DiskStore) -> Any:
            with session(cache_store=store):
                return work(1)

        leader = Calling(call, first)
        body.wait_for_run()
        other = Calling(call, second)
        until(lambda: followers(first) == 1, "the other waits")  # in this process, they are one
        body.go.set()
        assert (leader.result(), other.result()) == ([1], [1])
        assert body.runs == [1]

    @pytest.mark.parametrize("make", [MemoryStore, lambda: DiskStore("/nowhere")], ids=["MemoryStore", "DiskStore"])
    def test_go_when_nobody_has_them(self, make: Callable[[], Any]) -> None:
        work = cached(lambda x: x)
        made = make()
        reference = weakref.ref(made)
        with session(cache_store=made):
            assert work.is_cached(1) is False
        del made
        gc.collect()
        assert reference() is None

    def test_need_no_hash(self) -> None:
        @dataclasses.dataclass
        class Store(DictStore):
            name: str

            def __post_init__(self) -> None:
                super().__init__()

        runs: list[int] = []
        work = cached(lambda x: runs.append(x))
        with session(cache_store=Store("a")):
            work(1)
            work(1)
        assert runs == [1]

    def test_that_are_equal_are_two(self) -> None:
        class Store(DictStore):
            def __eq__(self, other: object) -> bool:
                return isinstance(other, Store)

            def __hash__(self) -> int:
                return 1

        one, two = Store(), Store()
        work = cached(lambda x: x)
        for each in (one, two):
            with session(cache_store=each):
                work(1)
        assert (len(one.data), len(two.data)) == (1, 1)

    def test_need_no_weak_references(self) -> None:
        class Store(DictStore):
            pass

        class Slotted:
            __slots__ = ("_store", "blocking", "trusted")

            def __init__(self) -> None:
                self._store = Store()
                self.blocking, self.trusted = False, True

            def __getattr__(self, name: str) -> Any:
                return getattr(self._store, name)

            get = property(lambda self: self._store.get)
            put = property(lambda self: self._store.put)
            delete = property(lambda self: self._store.delete)
            clear = property(lambda self: self._store.clear)
            stats = property(lambda self: self._store.stats)
            close = property(lambda self: self._store.close)

        runs: list[int] = []
        work = cached(lambda x: runs.append(x))
        with session(cache_store=Slotted()):
            work(1)
            work(1)
        assert runs == [1]
