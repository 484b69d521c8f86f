"""`CallTree`: what it remembers of calls, how it looks, and that it stays small and in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eagerly import ContextExecutor, Retry, Settings, current_task, save_dataset, session, task
from eagerly.cache import MemoryStore
from eagerly.errors import CacheRecursionError
from eagerly.plugins.text import error_line, format_duration, one_line, summarise
from eagerly.plugins.tree import Call, CallTree
from eagerly.testing import instant_clock
from kinds import Kind, TheirError, all_kinds, stream_kinds
from stored_calls import BrokenStore, dataset_of


def shape(tree: CallTree) -> list[tuple[int, str, str]]:
    return [(depth, call.name, call.state) for depth, call in tree.walk()]


def only(tree: CallTree) -> Call:
    (call,) = tree.calls
    return call


def without_times(text: str) -> str:
    return re.sub(r" +[\d.]+ m?s\b", " TIME", text)


# What it remembers


@all_kinds
def test_a_call_that_returns(kind: Kind) -> None:
    tree = CallTree()
    double = kind.make(lambda x: 2 * x, name="double")
    with session(plugins=[tree]):
        kind.run(double, 21)
    call = only(tree)
    assert (call.name, call.state, call.attempts, call.setback) == ("double", "ok", 1, "")
    assert (call.items, call.outcome) == ((1, "") if kind.is_stream else (None, "42"))
    assert call.duration is not None
    assert call.elapsed == call.duration >= 0
    assert repr(call) == "<Call 'double' ok>"


@all_kinds
@pytest.mark.parametrize("failures", [1, 2, 3])
def test_attempts_and_what_went_wrong(kind: Kind, failures: int) -> None:
    tree = CallTree()

    def flaky() -> str:
        attempt = current_task().attempt
        if attempt <= failures:
            raise TheirError(f"number {attempt}")
        return "at last"

    with session(plugins=[tree], clock=instant_clock()):
        if failures == 3:
            with pytest.raises(TheirError):
                kind.run(kind.make(flaky, retries=Retry(2, delay=1.5, backoff=1.0, jitter=0)))
        else:
            kind.run(kind.make(flaky, retries=Retry(2, delay=1.5, backoff=1.0, jitter=0)))
    call = only(tree)
    if failures == 3:
        assert (call.state, call.attempts, call.outcome) == ("failed", 3, "TheirError: number 3")
        assert without_times(str(tree)) == "✗ flaky TIME  3 attempts: " + ("0 items, " * kind.is_stream) + call.outcome
    else:
        assert (call.state, call.attempts, call.setback) == ("ok", failures + 1, f"TheirError: number {failures}")
        result = "1 item" if kind.is_stream else "'at last'"
        assert without_times(str(tree)) == f"✓ flaky TIME  {call.attempts} attempts: {result}, after {call.setback}"
    assert call.duration == pytest.approx(1.5 * (call.attempts - 1), abs=1)  # on the session's clock


@stream_kinds
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_items_of_a_stream_that_is_left_early(kind: Kind, taken: int) -> None:
    tree = CallTree()

    @task
    def numbers() -> Iterator[int]:
        yield from range(10)

    @task(name="numbers")
    async def async_numbers() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def leave() -> None:
        if kind.is_async:
            stream = async_numbers()
            for _ in range(taken):
                await anext(stream)
            await stream.aclose()
        else:
            plain = numbers()
            for _ in range(taken):
                next(plain)
            plain.close()

    with session(plugins=[tree]):
        asyncio.run(leave())
    if taken == 0:  # nobody asked for an item, so there was no call
        assert tree.calls == ()
    else:
        call = only(tree)
        assert (call.state, call.items, call.outcome) == ("cancelled", taken, "closed")
        assert without_times(str(tree)) == f"– numbers TIME  {taken} item{'s' if taken > 1 else ''}, closed"  # noqa: RUF001


def test_callers_and_those_they_called() -> None:
    @task
    def leaf(x: int) -> int:
        if x == 3:
            raise TheirError("three")
        return x

    @task
    async def branch() -> list[int]:
        return [leaf(1), leaf(2)]

    @task
    def trunk() -> dict[str, int]:
        asyncio.run(branch())
        try:
            leaf(3)
        except TheirError:
            return dict.fromkeys("abcd", 1)
        raise AssertionError

    tree = CallTree()
    with session(plugins=[tree]), session():
        trunk()
        leaf(4)
    assert without_times(str(tree)).splitlines() == [
        "✓ trunk TIME  dict of 4",
        "├─ ✓ branch TIME  [1, 2]",
        "│  ├─ ✓ leaf TIME  1",
        "│  └─ ✓ leaf TIME  2",
        "└─ ✗ leaf TIME  TheirError: three",
        "✓ leaf TIME  4",
    ]
    assert without_times(tree.render(ascii=True)).splitlines()[1:5] == [
        "|- + branch TIME  [1, 2]",
        "|  |- + leaf TIME  1",
        "|  `- + leaf TIME  2",
        "`- x leaf TIME  TheirError: three",
    ]


def test_a_call_that_runs_is_shown_as_such() -> None:
    tree, started, end = CallTree(), threading.Event(), threading.Event()

    @task
    def work() -> None:
        started.set()
        assert end.wait(60)

    with session(plugins=[tree]), ContextExecutor(ThreadPoolExecutor()) as pool:
        future = pool.submit(work)
        assert started.wait(60)
        call = only(tree)
        assert call.state == "running"
        assert call.duration is None
        assert call.elapsed > 0
        assert without_times(str(tree)) == "● work TIME  running"
        end.set()
        future.result()
    assert call.state == "ok"


@pytest.mark.parametrize(("error", "outcome"), [(KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted")])
def test_an_interrupted_call(error: type[BaseException], outcome: str) -> None:
    tree = CallTree()

    @task
    def stop() -> None:
        raise error

    with pytest.raises(error), session(plugins=[tree]):
        stop()
    assert (only(tree).state, only(tree).outcome) == ("cancelled", outcome)


def test_several_sessions_are_one_tree_until_it_is_cleared() -> None:
    tree = CallTree()
    for _ in range(2):
        with session(plugins=[tree]):
            task(lambda: None, name="nothing")()
    assert shape(tree) == [(0, "nothing", "ok")] * 2
    tree.clear()
    assert tree.calls == ()
    assert str(tree) == ""


def test_a_call_that_is_cleared_while_it_runs_does_not_come_back() -> None:
    tree = CallTree(max_calls=1)

    @task
    def inner() -> None: ...

    @task
    def outer() -> None:
        tree.clear()
        inner()
        inner()

    with session(plugins=[tree]):
        outer()
        inner()
    assert shape(tree) == [(0, "inner", "ok")]


# That it stays small


def test_memory_is_bounded_and_what_is_forgotten_is_counted() -> None:
    tree = CallTree(max_calls=10)

    @task
    def leaf(x: int) -> None:
        if x % 10 == 0:
            raise TheirError

    @task
    def branch() -> None:
        for x in range(100):
            with contextlib.suppress(TheirError):
                leaf(x)

    with session(plugins=[tree]):
        branch()
        assert len(list(tree.walk())) == 10
        assert without_times(str(tree)).splitlines()[-1] == "└─ … 91 more calls, 10 failed"
        branch()
    assert len(list(tree.walk())) == 10
    lines = str(tree).splitlines()
    assert lines[-1] == "… 101 more calls, 10 failed"


def test_a_caller_may_be_forgotten_before_those_it_called() -> None:
    tree = CallTree(max_calls=1)

    @task
    async def background(end: asyncio.Event) -> str:
        await end.wait()
        leaf()
        return "done"

    @task
    def leaf() -> None: ...

    @task
    async def caller(end: asyncio.Event) -> asyncio.Future[str]:
        running = asyncio.ensure_future(background(end))
        await asyncio.sleep(0)
        return running

    async def main() -> None:
        end = asyncio.Event()
        running = await caller(end)
        leaf()
        leaf()
        assert [(depth, name) for depth, name, _ in shape(tree)] == [(0, "background"), (0, "leaf")]
        end.set()
        await running

    with session(plugins=[tree]):
        asyncio.run(main())
    assert shape(tree) == [(0, "background", "ok")]
    assert str(tree).splitlines()[1:] == ["└─ … 1 more call", "… 3 more calls"]
    parent = only(tree).parent
    assert parent is not None
    assert not parent.is_forgotten  # nor kept alive by those that outlive it


def test_arguments_results_errors_and_items_are_not_kept() -> None:
    class Precious:
        pass

    class PreciousError(Exception):
        pass

    @task(retries=1)
    def same(x: object) -> object:
        if current_task().attempt == 1:
            raise PreciousError
        return x

    @task
    def repeat(x: object) -> Iterator[object]:
        yield x
        yield x

    tree = CallTree()
    with session(plugins=[tree]):
        same(Precious())
        deque(repeat(Precious()), maxlen=0)  # to its end, and nothing here keeps an item
        gc.collect()
        assert not [each for each in gc.get_objects() if any(type(each) is kind for kind in (Precious, PreciousError))]
    assert [call.outcome for call in tree.calls] == ["Precious", ""]


def test_many_siblings_are_summed_up() -> None:
    tree = CallTree()

    @task
    def leaf(x: int) -> int:
        if x == 7:
            raise TheirError
        return x

    with session(plugins=[tree]):
        for x in range(10):
            with contextlib.suppress(TheirError):
                leaf(x)
    lines = without_times(tree.render(siblings=3)).splitlines()
    assert lines == ["✓ leaf TIME  0", "✓ leaf TIME  1", "✗ leaf TIME  TheirError", "… 7 more calls"]


def test_deep_recursion() -> None:
    tree = CallTree()

    @task
    def down(x: int) -> int:
        return x and down(x - 1)

    with session(plugins=[tree]):
        down(200)
    assert [depth for depth, _ in tree.walk()] == list(range(201))
    assert len(tree.render(width=80).splitlines()) == 201


# That it stays in order


def test_threads_and_asyncio_tasks_at_once() -> None:
    tree = CallTree()
    together = threading.Barrier(4, timeout=60)

    @task
    def leaf(x: int) -> int:
        return x

    @task
    async def branch(x: int) -> int:
        await asyncio.sleep(0)
        return leaf(x)

    async def branches() -> None:
        await asyncio.gather(*(branch(x) for x in range(25)))

    @task
    def trunk(number: int) -> None:
        together.wait()
        asyncio.run(branches())

    with session(plugins=[tree]), ContextExecutor(ThreadPoolExecutor(4)) as pool:
        list(pool.map(trunk, range(4)))
    assert len(tree.calls) == 4
    for trunk_call in tree.calls:
        assert [call.name for call in trunk_call.children.values()] == ["branch"] * 25
        for x, call in enumerate(trunk_call.children.values()):
            assert [leaf_call.outcome for leaf_call in call.children.values()] == [str(x)] == [call.outcome]


def test_reading_while_others_write() -> None:
    """Rendering in one thread while calls start, end and are forgotten in others: nothing breaks, nothing is lost."""
    tree = CallTree(max_calls=20)
    done = threading.Event()
    lines: list[int] = []

    @task
    def leaf() -> None: ...

    @task
    def branch() -> None:
        for _ in range(10):
            leaf()

    def read() -> None:
        while not done.is_set():
            lines.append(len(str(tree).splitlines()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        strict = Settings(strict_hooks=True)
        with session(plugins=[tree], settings=strict), ContextExecutor(ThreadPoolExecutor(3)) as pool:
            for future in [pool.submit(branch) for _ in range(60)]:
                future.result()
    finally:
        done.set()
        reader.join()
    assert lines
    counted = sum(1 + call.forgotten for _, call in tree.walk())
    remark = re.search(r"^… (\d+) more calls$", tree.render(siblings=1000), re.MULTILINE)
    assert remark is not None
    assert counted + int(remark[1]) == 60 * 11


def test_clearing_while_others_write() -> None:
    tree = CallTree(max_calls=1)
    done = threading.Event()

    @task
    def leaf() -> None: ...

    @task
    def branch() -> None:
        for _ in range(10):
            leaf()

    def clear() -> None:
        while not done.is_set():
            tree.clear()

    clearer = threading.Thread(target=clear)
    clearer.start()
    try:
        strict = Settings(strict_hooks=True)
        with session(plugins=[tree], settings=strict), ContextExecutor(ThreadPoolExecutor(3)) as pool:
            for future in [pool.submit(branch) for _ in range(60)]:
                future.result()
    finally:
        done.set()
        clearer.join()
    assert len(list(tree.walk())) <= 1


def test_the_garbage_collector_may_end_a_call_in_the_middle_of_a_change() -> None:
    """`on_node_cancel` runs in the thread that is changing the tree, which must neither wait for itself nor break."""
    streams: list[Iterator[int]] = []

    class Interrupted(CallTree):
        def changed(self, call: Call) -> None:
            if call.name == "trigger":
                streams.clear()  # stands for a garbage collection at any allocation

    @task
    def numbers() -> Iterator[int]:
        yield from range(10)

    tree = Interrupted()
    with session(plugins=[tree]):
        streams.append(numbers())
        next(streams[0])
        task(lambda: None, name="trigger")()
    assert shape(tree) == [(0, "numbers", "cancelled"), (0, "trigger", "ok")]


def test_changed_is_told_every_state() -> None:
    told: list[tuple[str, str, int]] = []

    class Told(CallTree):
        def changed(self, call: Call) -> None:
            told.append((call.name, call.state, call.attempts))

    @task(retries=1)
    def flaky() -> None:
        if current_task().attempt == 1:
            raise TheirError

    with session(plugins=[Told()]):
        flaky()
    assert told == [("flaky", "running", 1), ("flaky", "retrying", 2), ("flaky", "ok", 2)]


# How it looks


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_line_is_wider_than_allowed(seed: int, width: int) -> None:
    random_ = random.Random(seed)
    tree = CallTree()

    @task(name="task_{name}")
    def grow(name: str, depth: int) -> str:
        for _ in range(random_.randrange(3) if depth else 0):
            grow("x" * random_.randrange(60), depth - 1)
        return "y" * random_.randrange(100)

    with session(plugins=[tree]):
        grow("root", 5)
    lines = tree.render(width=width).splitlines()
    assert len(lines) == len(list(tree.walk()))
    assert max(map(len, lines)) <= width


def test_columns_are_aligned() -> None:
    tree = CallTree()
    with session(plugins=[tree]):
        for name in ("a", "a_longer_name"):
            task(lambda: "result", name=name)()
    assert len({line.index("'result'") for line in str(tree).splitlines()}) == 1


# What was cached and what was saved


@all_kinds
def test_a_hit_is_a_call_that_took_no_time(kind: Kind) -> None:
    tree = CallTree()
    double = kind.make(lambda x: 2 * x, name="double", cache=True, cache_version="1")
    outer = task(lambda: kind.run(double, 21), name="outer")
    with session(plugins=[tree], cache_store=MemoryStore()):
        outer()
        outer()
    ran, recalled = (next(iter(call.children.values())) for call in tree.calls)
    assert (ran.state, ran.items) == ("ok", 1 if kind.is_stream else None)
    assert (recalled.name, recalled.state, recalled.items, recalled.attempts) == ("double", "cached", None, 1)
    assert (recalled.duration, recalled.elapsed) == (0.0, 0.0)
    assert recalled.outcome == ("" if kind.is_stream else "42")
    last = str(tree).splitlines()[-1]
    assert re.fullmatch(r"└─ ○ double  +cached" + (", 42" if not kind.is_stream else ""), last)
    assert tree.render(ascii=True).splitlines()[-1].startswith("`- o double ")


def test_hits_are_forgotten_like_other_calls_and_counted() -> None:
    @task(cache=True, cache_version="1")
    def square(x: int) -> int:
        return x * x

    tree = CallTree(max_calls=5)

    @task
    def many() -> None:
        for _ in range(100):
            square(1)
        square(2)

    with session(plugins=[tree], cache_store=MemoryStore()):
        many()
    assert len(list(tree.walk())) == 5
    caller = only(tree)
    assert (caller.forgotten, caller.forgotten_cached, caller.forgotten_failed) == (97, 96, 0)
    assert tree.render(siblings=2).splitlines()[-1] == "└─ … 99 more calls, 97 cached"
    assert len(tree._known) == 5
    tree.clear()
    assert tree._known == {}


def test_the_failure_of_who_computed_is_the_failure_of_who_waited() -> None:
    begun, both = threading.Event(), threading.Event()

    @task(cache=True, cache_version="1")
    def work() -> None:
        begun.set()
        assert both.wait(60)
        raise TheirError("of one")

    def wait() -> None:
        assert begun.wait(60)
        work()

    class Announcing(MemoryStore):
        """Tells when the second call has looked into it, and so is about to wait."""

        def get(self, key: bytes, /) -> Any:
            if threading.current_thread().name == "waiter":
                both.set()
            return super().get(key)

    tree = CallTree()
    errors: list[BaseException] = []

    def caught(function: Any) -> None:
        try:
            function()
        except TheirError as error:
            errors.append(error)

    with session(plugins=[tree], cache_store=Announcing()), ContextExecutor(ThreadPoolExecutor(2)) as pool:

        def named() -> None:
            threading.current_thread().name = "waiter"
            caught(wait)

        for future in [pool.submit(caught, work), pool.submit(named)]:
            future.result(60)
    assert len(errors) == 2
    assert [(call.state, call.outcome) for call in tree.calls] == [("failed", "TheirError: of one")] * 2


@all_kinds
def test_a_saved_dataset_is_a_note(kind: Kind, tmp_path: Path) -> None:
    tree = CallTree()
    double = kind.make(lambda x: 2 * x, name="double", dataset=dataset_of(kind))
    with session(plugins=[tree], dataset_store=tmp_path):
        kind.run(double, 21)
        save_dataset("by-hand.json", 1)  # on behalf of no call
    assert only(tree).notes == [f"saved {dataset_of(kind)}"]
    result = "1 item" if kind.is_stream else "42"
    assert without_times(str(tree)) == f"✓ double TIME  {result}, saved {dataset_of(kind)}"


def test_a_dataset_that_is_saved_at_a_hit_is_a_note_of_it(tmp_path: Path) -> None:
    tree = CallTree()
    double = task(lambda x: 2 * x, name="double", cache=True, dataset="double.json")
    store = MemoryStore()
    with session(cache_store=store, dataset_store=tmp_path / "one"):
        double(21)
    with session(plugins=[tree], cache_store=store, dataset_store=tmp_path / "two"):
        double(21)
    assert str(tree) == "○ double    cached, 42, saved double.json"


@pytest.mark.parametrize(("saves", "rest"), [(3, ""), (4, ", 1 more note"), (2000, ", 1,997 more notes")])
def test_notes_are_bounded(saves: int, rest: str) -> None:
    tree = CallTree()

    @task
    def work() -> None:
        metadata = current_task()
        for number in range(saves):
            tree.after_dataset_save(metadata, f"{number}.json")

    with session(plugins=[tree]):
        work()
    assert without_times(str(tree)) == f"✓ work TIME  saved 0.json, saved 1.json, saved 2.json{rest}"
    assert len(only(tree).notes) == 3


@all_kinds
@pytest.mark.filterwarnings("ignore::eagerly.errors.EagerlyWarning")
def test_trouble_with_the_cache_is_a_note(kind: Kind) -> None:
    tree = CallTree()
    double = kind.make(lambda x: 2 * x, name="double", cache=True, cache_version="1")
    with session(plugins=[tree], cache_store=BrokenStore()):
        kind.run(double, 21)
    call = only(tree)
    assert call.state == "ok"
    assert set(call.notes) == {"cache failed: OSError: the disk has gone"}
    assert len(call.notes) >= 2  # it could neither be read nor written


@pytest.mark.filterwarnings("ignore::eagerly.errors.EagerlyWarning")
def test_notes_of_calls_that_are_refused_are_not_kept_for_ever() -> None:
    """The cache fails, and then the call turns out to be its own cause: nothing more is heard of it."""
    tree = CallTree()

    @task(cache=True, cache_version="1")
    def loop() -> None:
        with pytest.raises(CacheRecursionError):
            loop()

    with session(plugins=[tree], cache_store=BrokenStore()):
        for _ in range(2100):
            loop()
    assert 0 < len(tree._early) <= 1000
    tree.clear()
    assert tree._early == {}


def test_a_summary_of_ones_own() -> None:
    tree = CallTree(summarise=lambda result: f"<{result}>\nsecond line")
    with session(plugins=[tree]):
        task(lambda: 1)()
    assert only(tree).outcome == "<1> second line"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 ms"),
        (0.000254, "0.25 ms"),
        (0.009994, "9.99 ms"),
        (0.009996, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (59.99, "59.99 s"),
        (59.999, "1 min 00 s"),
        (125.4, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3 * 3600 + 7 * 60, "3 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


class Point(NamedTuple):
    x: int
    y: int


class Unspeakable:
    def __repr__(self) -> str:
        raise AssertionError("nobody may ask")

    __len__ = __bool__ = __str__ = __repr__  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, ""),
        (True, "True"),
        (1.5, "1.5"),
        ("text\n\x1b[0m", r"'text\n\x1b[0m'"),
        ([], "[]"),
        ([1, 2, 3], "[1, 2, 3]"),
        ([1, 2, 3, 4], "list of 4"),
        ([[1]], "list of 1"),
        (dict.fromkeys(range(3376)), "dict of 3,376"),
        ({"a": Unspeakable()}, "dict of 1"),
        ([Unspeakable()], "list of 1"),
        (deque([1, 2, 3, 4]), "deque of 4"),
        (Point(1, 2), "Point"),
        (Unspeakable(), "Unspeakable"),
        pytest.param(10**5000, "int", id="more digits than str() gives"),
    ],
)
def test_summaries(result: Any, text: str) -> None:
    assert summarise(result) == text


def test_long_texts_are_shortened() -> None:
    assert len(summarise("x" * 1000)) <= 60
    assert len(summarise(["x" * 1000] * 3)) <= 120
    assert one_line("a" * 200, 10) == "aaaaaaaaa…"
    assert one_line(" a\t\x1b[1m\r\n b ", 10) == "a ?[1m b"


def test_errors_that_cannot_speak() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise TheirError

    assert error_line(MuteError()) == "MuteError"
    assert error_line(ValueError()) == "ValueError"
    assert error_line(ValueError("a\nb")) == "ValueError: a b"


def test_a_tree_of_no_calls_makes_no_sense() -> None:
    with pytest.raises(ValueError, match=r"max_calls=\.\.\..*from 1, not 0"):
        CallTree(max_calls=0)
