"""Async tasks and blocking stores; and the memory in front of a store, which gives everybody a value of his own."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eagerly import session, task
from eagerly.cache import DiskStore, MemoryStore
from eagerly.errors import EagerlyWarning
from eagerly.testing import RecordingHooks, instant_clock
from flights import PATIENCE, Body, Gate, GatedStore, auntil, calling, followers, until_followed
from kinds import Kind, drive
from stored_calls import DictStore


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    return GatedStore(tmp_path / "cache")


@pytest.fixture(autouse=True)
def hooks(store: GatedStore) -> Iterator[RecordingHooks]:
    recording = RecordingHooks()
    with session(cache_store=store, plugins=[recording]):
        yield recording
    recording.verify()


def cached(function: Any, **options: Any) -> Any:
    return task(function, **{"name": "work", "cache": True, "cache_version": "1", **options})


async def double(x: Any) -> Any:
    return [x, x]


async def turn(times: int = 20) -> None:
    """Let the loop turn, which it does only if nothing blocks it."""
    for _ in range(times):
        await asyncio.sleep(0)


class TestTheLoopGoesOn:
    @pytest.mark.parametrize("method", ["get", "put", "try_lock"])
    async def test_while_the_store_is_busy(self, store: GatedStore, method: str) -> None:
        gate = store.gates[method] = Gate()
        call = asyncio.create_task(cached(double)(1))
        await auntil(gate.reached.is_set, "the store is asked")
        await turn()
        assert not call.done()
        gate.open.set()
        assert await call == [1, 1]

    async def test_other_keys_are_computed_meanwhile(self, store: GatedStore) -> None:
        gate = store.gates["put"] = Gate()
        work = cached(double)
        slow = asyncio.create_task(work(1))
        await auntil(gate.reached.is_set, "the first is being stored")
        store.gates.clear()
        assert await work(2) == [2, 2]
        assert not slow.done()
        gate.open.set()
        assert await slow == [1, 1]

    async def test_whatever_the_user_does_with_the_threads_of_asyncio(self, store: GatedStore) -> None:
        """The store is asked by threads of ours: those of asyncio may all be waiting for this very result."""
        loop = asyncio.get_running_loop()
        busy = Gate()
        with ThreadPoolExecutor(1) as pool:
            loop.set_default_executor(pool)
            waiting = asyncio.create_task(asyncio.to_thread(busy))
            await auntil(busy.reached.is_set, "the pool is busy")
            assert await asyncio.wait_for(cached(double)(1), PATIENCE) == [1, 1]
            busy.open.set()
            await waiting

    async def test_every_access_is_made_by_another_thread(self, store: GatedStore) -> None:
        work = cached(double)
        await work(1)
        await work([2])
        await work([2])
        assert {what for what, _ in store.asked} == {"get", "put", "try_lock"}
        assert threading.get_ident() not in {thread for _, thread in store.asked}

    async def test_stores_that_do_not_block_stay_on_the_loop(self) -> None:
        work = cached(double)
        for store in (DictStore(), MemoryStore()):
            with session(cache_store=store):
                await work(0)  # looks at the code, which takes a while
                assert drive(work(1)) == drive(work(1)) == [1, 1]

    async def test_hits_in_memory_stay_on_the_loop(self, store: GatedStore) -> None:
        work = cached(double)
        await work(0)  # makes the directory, before which nothing is held in memory
        await work(1)
        asked = len(store.asked)
        assert [drive(work(1)) for _ in range(5)] == [[1, 1]] * 5
        assert len(store.asked) == asked

    async def test_large_arguments_are_encoded_elsewhere(self) -> None:
        threads: list[int] = []

        class Large:
            def __cache_key__(self) -> str:
                threads.append(threading.get_ident())
                return "large"

        async def size(x: Any) -> int:
            return 1

        work = cached(size)
        for _ in range(3):
            assert await work(Large()) == 1
        assert len(threads) >= 3
        assert threading.get_ident() not in threads

    async def test_large_items_are_packed_elsewhere(self) -> None:
        packed: list[int] = []

        class Large(list[int]):
            def __reduce__(self) -> Any:
                packed.append(threading.get_ident())
                return list, ()

        async def stream(x: int) -> Any:
            yield Large(range(20_000))
            yield Large(range(3))

        work = cached(stream)
        assert [len(item) async for item in work(1)] == [20_000, 3]
        here = threading.get_ident()
        assert [thread == here for thread in packed] == [False, True]

    async def test_cancelled_while_the_store_is_busy(self, store: GatedStore) -> None:
        gate = store.gates["get"] = Gate()
        work = cached(double)
        call = asyncio.create_task(work(1))
        await auntil(gate.reached.is_set, "the store is asked")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        store.gates.clear()
        gate.open.set()
        assert await work(1) == [1, 1]

    async def test_so_is_what_the_function_brings_along(self) -> None:
        threads: list[int] = []

        class Large:
            def __cache_key__(self) -> str:
                threads.append(threading.get_ident())
                return "large"

            async def size(self, x: int) -> int:
                return x

        brought = Large()

        async def enclosed(x: int) -> int:
            return x if brought else 0

        for work in (cached(enclosed), cached(brought.size)):
            for _ in range(3):
                assert await work(1) == 1
        assert len(threads) >= 6
        assert threading.get_ident() not in threads

    async def test_hundreds_at_once(self, store: GatedStore) -> None:
        work = cached(double)
        results = await asyncio.gather(*[work(each % 20) for each in range(200)])
        assert results == [[each % 20] * 2 for each in range(200)]
        assert store.count("put") == 20

    async def test_a_large_result(self, store: GatedStore, record_property: Callable[[str, object], None]) -> None:
        """100 MB are written by another thread. How long the loop stood still is told, and not judged."""
        large = np.arange(12_500_000.0)

        async def compute(x: int) -> Any:
            return large if x else None

        work = cached(compute)
        await work(0)
        gaps: list[float] = []
        done = asyncio.Event()

        async def tick() -> None:
            last = time.perf_counter()
            while not done.is_set():
                await asyncio.sleep(0)
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        ticking = asyncio.create_task(tick())
        result = await work(1)
        again = await work(1)
        done.set()
        await ticking
        record_property("longest gap of the loop in ms", round(1000 * max(gaps), 2))
        assert result is large  # what was computed is not copied
        assert again is not large
        assert again[-1] == large[-1]
        assert threading.get_ident() not in {thread for _, thread in store.asked}


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str]


MUTABLE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "list": (lambda: [1, 2], lambda value: value.append(3)),
    "dict": (lambda: {"a": 1}, lambda value: value.clear()),
    "set": (lambda: {1, 2}, lambda value: value.add(3)),
    "bytearray": (lambda: bytearray(b"ab"), lambda value: value.extend(b"c")),
    "array": (lambda: np.arange(5), lambda value: value.fill(0)),
    "large array": (lambda: np.arange(500_000), lambda value: value.fill(0)),
    "dataclass": (lambda: Point(1, ["a"]), lambda value: setattr(value, "x", 2)),
    "in a dataclass": (lambda: Point(1, ["a"]), lambda value: value.tags.clear()),
    "in a tuple": (lambda: (1, [2]), lambda value: value[1].append(3)),
    "in a frozen tree": (lambda: (1, (2, {"a": [3]})), lambda value: value[1][1]["a"].append(4)),
    "object array": (lambda: np.array([[1], [2]], dtype=object), lambda value: value.fill(None)),
}

without_blocking = pytest.mark.parametrize("make", [None, MemoryStore], ids=["in front of a disk", "a memory store"])


@pytest.mark.parametrize("kind", [Kind.SYNC, Kind.ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("value", MUTABLE)
class TestNoAliasing:
    def _work(self, kind: Kind, value: str) -> Any:
        make = MUTABLE[value][0]

        def produce(x: int) -> Any:
            return make()

        return kind.make(produce, name="work", cache=True, cache_version=value)

    @without_blocking
    def test_of_results(self, kind: Kind, value: str, make: Any) -> None:
        change = MUTABLE[value][1]
        expected = repr(MUTABLE[value][0]())
        work = self._work(kind, value)
        with session() if make is None else session(cache_store=make()):
            for _ in range(4):
                result = kind.run(work, 1)
                assert repr(result) == expected
                change(result)

    def test_of_what_others_wait_for(self, kind: Kind, value: str, store: GatedStore) -> None:
        """The first caller changes its result before the others have theirs."""
        make, change = MUTABLE[value]
        body = Body()

        def produce(x: int) -> Any:
            body(x)
            return make()

        def call_and_change() -> Any:
            result = work(1)
            seen = copy.deepcopy(result)
            change(result)
            return repr(seen)

        work = Kind.SYNC.make(produce, name="work", cache=True, cache_version=value)
        calls = calling(1, call_and_change)
        body.wait_for_run()
        calls += calling(2, call_and_change)
        until_followed(store, 2)
        body.go.set()
        assert [call.result() for call in calls] == [repr(make())] * 3
        assert body.runs == [1]


class TestMemory:
    def test_immutable_values_are_shared(self) -> None:
        work = cached(_same)
        text = "x" * 1000
        work(text)
        assert work(text) is work(text)

    def test_mutable_arguments_are_no_results(self) -> None:
        """What is stored is what was returned, even if that is the argument."""
        work = cached(_same)
        given = [1]
        assert work(given) is given
        given.append(2)
        assert work([1]) == [1]

    @pytest.mark.parametrize("change", ["invalidate", "refresh", "clear", "put"])
    def test_what_another_store_object_changes(self, store: GatedStore, change: str) -> None:
        runs: list[int] = []

        def number(x: int) -> int:
            runs.append(x)
            return len(runs)

        work = cached(number)
        assert work(1) == work(1) == 1
        other = DiskStore(store.path)
        with session(cache_store=other):
            if change == "refresh":
                assert work.refresh(1) == 2
            elif change == "invalidate":
                assert work.invalidate(1)
            elif change == "clear":
                other.clear()
            else:
                other.delete(bytes.fromhex(work.cache_key(1)))
        assert work(1) == 2
        assert runs == [1, 1]

    def test_bounds(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "bounded", memory_limit=100_000)
        memory = store.memory
        assert memory is not None
        work = cached(_same)
        with session(cache_store=store):
            for each in range(300):
                work(f"{each:01000}")
                assert memory.bytes <= 100_000
            assert memory.items > 10
            items = memory.items
            work("x" * 50_000)  # more than an eighth: only on the disk
            assert memory.items == items
            assert work("x" * 50_000) == "x" * 50_000

    def test_none_at_all(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "bounded", memory_limit=0)
        work = cached(_same)
        with session(cache_store=store):
            assert [work(1), work(1)] == [1, 1]
        assert store.stats().hits == 1

    def test_statistics(self, store: GatedStore) -> None:
        work = cached(_same)
        for _ in range(3):
            work(1)
        stats = store.stats()
        assert (stats.hits, stats.entries, stats.errors) == (2, 1, 0)
        assert stats.misses >= 1
        assert stats.bytes > 0

    def test_expiry(self, store: GatedStore) -> None:
        clock = instant_clock()
        runs: list[int] = []
        work = cached(lambda x: runs.append(x), cache_ttl=10, cache_version=None)
        with session(clock=clock):
            work(1)
            clock.advance(9.9)
            work(1)
            assert runs == [1]
            clock.advance(0.1)
            work(1)
            assert runs == [1, 1]

    async def test_followers_of_a_failed_write_get_values_of_their_own(self, store: GatedStore) -> None:
        store.fails["put"] = OSError("full")
        body = Body()

        async def produce(x: int) -> Any:
            return await body.turn(x)

        work = cached(produce)
        calls = [asyncio.create_task(work(1)) for _ in range(3)]
        await auntil(lambda: followers(store) == 2, "all wait")
        body.go.set()
        with pytest.warns(EagerlyWarning, match="full"):
            results = await asyncio.gather(*calls)
        results[0].append("mine")
        assert results[1:] == [[1], [1]]
        assert results[1] is not results[2]


def _same(x: Any) -> Any:
    return x
