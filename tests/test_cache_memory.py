"""The memory tier and the store in memory: bounds, order, copies, threads, and being interrupted by the collector."""

from __future__ import annotations

import enum
import fractions
import gc
import pickle
import sys
import threading
import time
import tracemalloc
import uuid
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly._checks import Child
from eagerly.cache._memory import MISSING, MemoryStore, MemoryTier
from eagerly.errors import CacheError, OptionTypeError, OptionValueError

NOW = 1_700_000_000.0
MB = 2**20


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def unpickled(_key: bytes, data: bytes) -> Any:
    return pickle.loads(data)


def tier(max_bytes: int = 8 * MB, max_items: int = 1000) -> MemoryTier:
    return MemoryTier(max_bytes, max_items, unpickled)


def hold(where: MemoryTier, number: int, value: Any, expires: float | None = None) -> None:
    where.put(key(number), value, lambda: pickle.dumps(value), expires)


# Values


@pytest.mark.parametrize("value", [None, 0, "text", b"bytes", 1.5, (1, ("a", frozenset({2}))), uuid.UUID(int=5)])
def test_an_immutable_value_comes_back_as_it_is(value: object) -> None:
    memory = tier()
    memory.put(key(1), value, lambda: pytest.fail("an immutable value needs no bytes"))
    assert memory.get(key(1), NOW) is value
    assert (memory.hits, memory.items) == (1, 1)


def test_what_is_not_there_is_missing() -> None:
    memory = tier()
    assert memory.get(key(1), NOW) is MISSING
    assert memory.hits == 0


def test_no_caller_can_change_what_the_next_one_gets() -> None:
    memory = tier()
    value = {"rows": [1, 2]}
    hold(memory, 1, value)
    value["rows"].append(3)
    first = memory.get(key(1), NOW)
    first["rows"].clear()
    assert memory.get(key(1), NOW) == {"rows": [1, 2]}


def test_a_tuple_with_something_mutable_is_copied() -> None:
    memory = tier()
    value = ("a", [1])
    hold(memory, 1, value)
    memory.get(key(1), NOW)[1].append(2)
    assert memory.get(key(1), NOW) == ("a", [1])


def test_the_bytes_are_the_tiers_own() -> None:
    memory = tier()
    data = bytearray(pickle.dumps([1, 2, 3]))
    memory.put(key(1), [1, 2, 3], lambda: data)
    data[:] = b"x" * len(data)
    assert memory.get(key(1), NOW) == [1, 2, 3]


def test_decoding_is_given_the_key() -> None:
    memory = MemoryTier(MB, 10, lambda key, data: (key, data))
    memory.put(key(7), [], lambda: memoryview(b"data"))
    assert memory.get(key(7), NOW) == (key(7), b"data")


@pytest.mark.parametrize("outcome", [MISSING, ValueError("it has rotted")])
def test_what_cannot_be_decoded_is_missing_and_forgotten(outcome: object) -> None:
    def decode(_key: bytes, _data: bytes) -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    memory = MemoryTier(MB, 10, decode)
    memory.put(key(1), [], lambda: b"data")
    assert memory.items == 1
    assert memory.get(key(1), NOW) is MISSING
    assert (memory.items, memory.bytes, memory.hits) == (0, 0, 0)


def test_without_decode_only_immutable_values_are_held() -> None:
    memory = MemoryTier(MB, 10)
    memory.put(key(1), 1, lambda: b"")
    memory.put(key(1), [], lambda: pytest.fail("nobody could read these bytes"))
    assert memory.get(key(1), NOW) is MISSING


# Time and coherence


def test_a_value_ends_when_it_expires() -> None:
    memory = tier()
    hold(memory, 1, "value", NOW + 10)
    assert memory.get(key(1), NOW + 9.9) == "value"
    assert memory.get(key(1), NOW + 10) is MISSING
    assert (memory.items, memory.bytes) == (0, 0)


def test_a_new_value_has_its_own_end() -> None:
    memory = tier()
    hold(memory, 1, "old", NOW + 10)
    hold(memory, 1, "new")
    assert memory.get(key(1), NOW + 11) == "new"
    assert memory.items == 1


def test_discard_and_clear() -> None:
    memory = tier()
    for number in range(3):
        hold(memory, number, number)
    memory.discard(key(0))
    memory.discard(key(0))
    assert [memory.get(key(number), NOW) for number in range(3)] == [MISSING, 1, 2]
    memory.clear()
    assert (memory.items, memory.bytes) == (0, 0)


# Bounds


def test_the_least_recently_used_goes_first() -> None:
    memory = tier(max_items=3)
    for number in (1, 2, 3):
        hold(memory, number, number)
    memory.get(key(1), NOW)
    hold(memory, 4, 4)
    assert [memory.get(key(number), NOW) for number in (1, 2, 3, 4)] == [1, MISSING, 3, 4]


def test_an_eighth_is_the_most_that_one_value_may_take() -> None:
    memory = tier(max_bytes=8 * MB)
    hold(memory, 1, b"x" * (MB - 1000))
    hold(memory, 2, b"x" * MB)
    hold(memory, 3, bytearray(MB))
    assert [memory.get(key(number), NOW) is MISSING for number in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize("large", [b"x" * MB, bytearray(MB)])
def test_a_value_that_is_too_large_still_replaces_the_old_one(large: object) -> None:
    memory = tier(max_bytes=8 * MB)
    hold(memory, 1, "old")
    hold(memory, 1, large)
    assert memory.get(key(1), NOW) is MISSING


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("make", "at_least"),
    [
        (lambda: "x" * 50_000, 50_000),
        (lambda: tuple(float(n) for n in range(1000)), 1000 * (8 + 24)),
        (lambda: (("a" * 999, "b" * 999), frozenset({"c" * 999})), 2997),
        (lambda: fractions.Fraction(10**3000, 10**3000 + 1), 2400),
        (lambda: 10**10_000, 4000),
    ],
    ids=["str", "floats", "nested", "fraction", "int"],
)
def test_a_value_counts_with_what_it_contains(make: Any, at_least: int) -> None:
    memory = tier()
    hold(memory, 1, make())
    assert memory.bytes >= at_least


@pytest.mark.parametrize("value", [Colour.RED, True, None, PurePosixPath("a/b"), uuid.UUID(int=1)])
def test_what_exists_anyway_or_is_small_counts_little(value: object) -> None:
    memory = tier()
    hold(memory, 1, value)
    assert memory.bytes < 1500


def test_one_object_in_many_places_of_a_value_counts_once() -> None:
    inner = ("x" * 500, 1.5)
    memory = tier()
    hold(memory, 1, (inner,) * 1000)
    assert memory.bytes < 8 * 1000 + 2 * 1000


@pytest.mark.parametrize("make", [float, lambda n: "é" * (n % 50), lambda n: (n, str(n), (float(n), b"x" * 20))])
def test_the_count_is_what_the_interpreter_takes(make: Any) -> None:
    memory = tier(64 * MB, 100_000)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(5000):
            memory.put(b"%28d" % number, make(number + 1000), bytes, NOW + number)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= memory.bytes <= 2 * taken


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "discard", "expire"]), st.integers(0, 12), st.integers(0, 3000)),
        max_size=80,
    )
)
def test_it_is_a_bounded_least_recently_used_mapping(steps: list[tuple[str, int, int]]) -> None:
    """Against a plain model: same answers, and never above its bounds."""
    memory = tier(max_bytes=16_000, max_items=8)
    model: OrderedDict[int, tuple[bytes, int]] = OrderedDict()
    for step, number, size in steps:
        if step == "put":
            value = b"x" * size
            hold(memory, number, value)
            model.pop(number, None)
            cost = sys.getsizeof(value) + 320
            if cost <= 2000:
                model[number] = (value, cost)
            while len(model) > 8 or sum(cost for _, cost in model.values()) > 16_000:
                model.popitem(last=False)
        elif step == "get":
            assert memory.get(key(number), NOW) == model.get(number, (MISSING, 0))[0]
            if number in model:
                model.move_to_end(number)
        elif step == "expire":
            hold(memory, number, b"", NOW)
            assert memory.get(key(number), NOW) is MISSING
            model.pop(number, None)
        else:
            memory.discard(key(number))
            model.pop(number, None)
        assert (memory.items, memory.bytes) == (len(model), sum(cost for _, cost in model.values()))
        assert memory.items <= memory.max_items
        assert memory.bytes <= memory.max_bytes


@pytest.fixture
def often_switching() -> Any:
    """Threads that meet at every possible place."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("rounds", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("often_switching")
def test_bounds_hold_under_load_from_threads(rounds: int) -> None:
    memory = tier(max_bytes=400_000, max_items=100)
    most: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(seed, seed + rounds):
                number = turn * 7919 % 150
                if turn % 3:
                    hold(memory, number, (number, b"x" * (number * 100)))
                elif turn % 50 == 0:
                    memory.discard(key(number))
                else:
                    found = memory.get(key(number), NOW)
                    assert found is MISSING or found == (number, b"x" * (number * 100))
                most.append((memory.items, memory.bytes))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    # While four threads are between adding one and removing others, there may be that many more.
    assert max(items for items, _ in most) <= 100 + 4
    assert max(size for _, size in most) <= 400_000 + 4 * 50_000
    for number in range(600):  # enough for a recount, if anything had drifted
        hold(memory, number % 150, number)
    held = [memory.get(key(number), NOW) for number in range(150)]
    assert sum(value is not MISSING for value in held) == memory.items == 100
    assert memory.bytes == 100 * (sys.getsizeof(1000) + 320)


@pytest.mark.parametrize("drift", [-500_000, 500_000])
def test_a_count_that_has_drifted_is_corrected(drift: int) -> None:
    """A thread that is interrupted between two steps leaves a wrong count behind."""
    memory = tier(max_bytes=400_000, max_items=100)
    memory.bytes += drift
    for number in range(600):
        hold(memory, number, b"x" * 10_000)
    assert memory.items == 400_000 // (10_000 + sys.getsizeof(b"") + 320)
    assert memory.bytes == memory.items * (10_000 + sys.getsizeof(b"") + 320)


def test_the_collector_may_use_the_tier_while_it_is_in_use() -> None:
    """A finalizer that stores and looks up runs in the middle of every operation, and nothing deadlocks or fails."""
    memory = tier(max_bytes=100_000, max_items=50)
    ran = 0

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            nonlocal ran
            ran += 1
            hold(memory, ran % 60, ["from the collector"])
            memory.get(key(ran % 60), NOW)

    thresholds = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        for turn in range(3000):
            Cycle()
            hold(memory, turn % 70, (turn, [turn]))
            memory.get(key(turn % 70), NOW)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert ran > 1000
    assert memory.items <= 50
    assert memory.bytes <= 100_000


def test_it_works_in_a_forked_child() -> None:
    memory = tier()
    hold(memory, 1, "from the parent")

    def child(_tell: object) -> None:
        assert memory.get(key(1), NOW) == "from the parent"
        hold(memory, 2, ["from the child"])
        assert memory.get(key(2), NOW) == ["from the child"]

    forked = Child(child)
    try:
        forked.join()
    finally:
        forked.kill()
    assert memory.get(key(2), NOW) is MISSING


def test_a_pickled_tier_arrives_empty() -> None:
    memory = MemoryTier(5000, 7)
    hold(memory, 1, "value")
    copy = pickle.loads(pickle.dumps(memory))
    assert (copy.max_bytes, copy.max_items, copy.items) == (5000, 7, 0)


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_items": 0}, {"max_bytes": -1}])
def test_bounds_are_at_least_one(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionValueError, match=next(iter(wrong))):
        MemoryTier(**{"max_bytes": 10, "max_items": 10, **wrong})
    with pytest.raises(OptionValueError, match=next(iter(wrong))):
        MemoryStore(**wrong)


def test_bounds_are_whole_numbers() -> None:
    with pytest.raises(OptionTypeError, match=r"MemoryStore\(max_bytes=...\) takes an int, not 1.5"):
        MemoryStore(max_bytes=1.5)  # type: ignore[arg-type]


# The store


def test_the_store_is_bounded() -> None:
    store = MemoryStore(max_bytes=10_000, max_items=5)
    for number in range(5):
        store.put(key(number), [b"x"])
    store.get(key(0))
    store.put(key(5), [b"x"])
    assert store.get(key(0)) == b"x"
    assert store.get(key(1)) is None
    store.put(key(6), [b"y" * 9000])
    assert store.stats().entries < 5
    assert store.stats().bytes <= 10_000


def test_what_does_not_fit_is_an_error_and_takes_the_old_entry_with_it() -> None:
    store = MemoryStore(max_bytes=1000)
    store.put(key(1), [b"old"])
    with pytest.raises(CacheError, match=r"1320 bytes do not fit into MemoryStore\(max_bytes=1000"):
        store.put(key(1), [b"x" * 500, b"x" * 500])
    assert store.get(key(1)) is None
    assert store.stats().errors == 1


def test_an_expired_entry_takes_no_place() -> None:
    store = MemoryStore()
    store.put(key(1), [b"x"], expires=time.time() - 1)
    store.get(key(1))
    assert store.stats().entries == 0


def test_a_locked_key_is_locked_for_threads_as_well() -> None:
    store = MemoryStore()
    lock = store.try_lock(key(1))
    assert lock is not None
    assert store.try_lock(key(1)) is None
    lock.release()
    lock.release()
    second = store.try_lock(key(1))
    assert second is not None
    lock.release()  # not its own any more
    assert store.try_lock(key(1)) is None


def test_nobody_holds_a_lock_in_a_forked_child() -> None:
    store = MemoryStore()
    lock = store.try_lock(key(1))
    assert lock is not None

    def child(_tell: object) -> None:
        assert store.try_lock(key(1)) is not None

    forked = Child(child)
    try:
        forked.join()
    finally:
        forked.kill()
    assert store.try_lock(key(1)) is None


def test_one_of_many_threads_gets_the_lock() -> None:
    store = MemoryStore()
    granted: list[object] = []
    together = threading.Barrier(16)

    def work() -> None:
        together.wait()
        lock = store.try_lock(key(1))
        if lock is not None:
            granted.append(lock)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1


def test_nobody_outside_waits_for_its_keys() -> None:
    store = MemoryStore()
    store.unmark_waiting(store.mark_waiting(key(1)))
    assert store.is_waited_for(key(1)) is False


def test_the_repr_shows_the_bounds() -> None:
    assert repr(MemoryStore(max_bytes=10, max_items=2)) == "MemoryStore(max_bytes=10, max_items=2)"
    assert repr(tier(5000, 2)) == "<MemoryTier with 0 items, 0 of 5000 bytes>"
