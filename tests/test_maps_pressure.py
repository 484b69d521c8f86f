"""Back-pressure: maps are lazy on both sides, keep nothing that nobody needs, and end with whoever reads them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import map_bodies as bodies
from eagerly import SessionContext, current_session, iter_tasks, map_tasks, session, task
from eagerly.errors import BackendError, SessionError
from eagerly.testing import RecordingHooks

KINDS = ("inline", "thread", "process")

engines = pytest.mark.parametrize("kind", KINDS)
in_any_order = pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they come"])


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[str, Any]]:
    """Engines with two workers, for the tests that do no harm."""
    with bodies.engine("thread") as thread, bodies.engine("process") as process:
        yield {"inline": "inline", "thread": thread, "process": process}


class Source:
    """Counts what is read of it."""

    def __init__(self, rows: Any = None) -> None:
        self.read = 0
        self._rows = itertools.count() if rows is None else iter(rows)

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Any:
        row = next(self._rows)
        self.read += 1
        return row


class Box:
    """Something that can be watched."""

    def __init__(self, value: object) -> None:
        self.value = value


@task
def boxed(value: object) -> Box:
    return Box(value)


@task
def unboxed(box: Box) -> object:
    return box.value


@task
def read_file(name: str) -> str:
    """Waits for a file that begins with a dash to be made."""
    if name.startswith("-"):
        bodies.wait_for(name[1:])
    return name


# -- nothing too early, nothing too much -----------------------------------------------------------------------------


@engines
def test_nothing_is_taken_before_the_first_result_is_asked_for(kind, opened):
    source = Source()
    results = iter_tasks(bodies.double, source, backend=opened[kind])
    assert source.read == 0
    del results
    assert source.read == 0


@engines
@in_any_order
@pytest.mark.parametrize("window", [1, 3, 8])
def test_at_most_a_window_more_is_taken_than_was_given_out(kind, ordered, window, opened):
    source = Source()
    results = iter_tasks(bodies.double, source, backend=opened[kind], chunk=1, window=window, ordered=ordered)
    for given in range(1, 11):
        next(results)
        assert given <= source.read <= given + window
    results.close()
    assert source.read <= 10 + window


@engines
def test_without_a_window_an_infinite_iterable_is_read_a_few_items_ahead(kind, opened):
    source = Source()
    assert list(itertools.islice(iter_tasks(bodies.double, source, backend=opened[kind], chunk=1), 10)) == list(
        range(0, 20, 2)
    )
    assert source.read <= 10 + 2 * 4


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_window_and_a_chunk_bound_what_is_at_work(kind, opened, tmp_path):
    source = Source(f"-{tmp_path / 'gate'}" for _ in itertools.count())
    reader = threading.Thread(
        target=lambda: next(iter_tasks(read_file, source, backend=opened[kind], window=5, chunk=2, ordered=False))
    )
    reader.start()
    bodies.until(lambda: source.read == 5)
    (tmp_path / "gate").touch()
    reader.join()
    assert source.read <= 6


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_one_slow_item_in_front_keeps_the_buffer_bounded(kind, opened, tmp_path):
    gate = tmp_path / "gate"
    source = Source(itertools.chain([f"-{gate}"], map(str, itertools.count(1))))
    results = iter_tasks(read_file, source, backend=opened[kind], window=12, chunk=1)
    first: list[str] = []
    reader = threading.Thread(target=lambda: first.append(next(results)))
    reader.start()
    bodies.until(lambda: source.read == 12)
    gate.touch()
    reader.join()
    assert first == [f"-{gate}"]
    assert source.read <= 13
    assert list(itertools.islice(results, 30)) == list(map(str, range(1, 31)))
    results.close()  # type: ignore[attr-defined]


@engines
def test_the_next_item_may_depend_on_the_result_before_it(kind, opened):
    rest = [1]

    def rows() -> Iterator[int]:
        while rest:
            yield rest.pop()

    for result in iter_tasks(bodies.double, rows(), backend=opened[kind], window=1):
        if result < 1000:
            rest.append(result)
    assert result == 1024


# -- nothing is kept -------------------------------------------------------------------------------------------------


@engines
@in_any_order
def test_a_result_belongs_to_the_consumer_alone(kind, ordered, opened):
    results = iter_tasks(boxed, range(40), backend=opened[kind], ordered=ordered)
    for _ in range(40):
        result = next(results)
        watched = weakref.ref(result)
        del result
        assert watched() is None


@engines
def test_an_error_that_was_returned_belongs_to_the_consumer_alone(kind, opened):
    results = iter_tasks(bodies.refuse_even, range(4), backend=opened[kind], errors="return")
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            error = next(results)
            assert isinstance(error, bodies.RefusedError)
            watched = weakref.ref(error)
            error.__traceback__ = None
            del error
            assert watched() is None
            assert next(results) % 2 == 1
    finally:
        gc.enable()


@engines
def test_nothing_of_the_map_outlives_it(kind, opened):
    boxes = [Box(number) for number in range(20)]
    watched = [weakref.ref(box) for box in boxes]
    rows = iter(boxes)
    source = weakref.ref(generator := (row for row in rows))
    gc.collect()
    gc.disable()  # what is freed is freed at once
    try:
        results = iter_tasks(unboxed, generator, backend=opened[kind])
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        del results, boxes, rows, generator
        bodies.until(lambda: source() is None and all(each() is None for each in watched), patience=5)
    finally:
        gc.enable()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def assert_flat(items: int, backend: Any, *, ordered: bool = True) -> None:
    """Consume so many results of some size; at no time are many of them there."""
    results = iter_tasks(lambda number: b"%d" % number, range(items), backend=backend, ordered=ordered)
    begin = items // 4
    before = most = 0
    for count, _ in enumerate(results):
        if count == begin:
            before = resident()
        elif count % (items // 20) == 0:
            most = max(most, resident())
    assert count == items - 1
    assert most - before < 30_000_000


@engines
def test_memory_is_flat(kind, opened):
    assert_flat(60_000, opened[kind])


@pytest.mark.slow
@engines
@in_any_order
def test_memory_is_flat_over_a_million_items(kind, ordered, opened):
    assert_flat(1_000_000, opened[kind], ordered=ordered)


def test_a_slow_consumer_is_not_overrun(opened):
    """The results that wait are those of the window, however long nobody asks for them."""
    source = Source()
    results = iter_tasks(bodies.double, source, backend=opened["process"], window=6, chunk=1)
    next(results)
    read = source.read
    bodies.until(lambda: True)
    assert source.read == read <= 7  # nobody takes anything while nobody asks
    assert [next(results) for _ in range(20)] == [2 * number for number in range(1, 21)]
    results.close()  # type: ignore[attr-defined]


# -- consumers that stop ---------------------------------------------------------------------------------------------


class Streamed:
    """A stream task as the iterable, under hooks."""

    def __init__(self) -> None:
        @task
        def numbers() -> Iterator[int]:
            yield from itertools.count()

        self.hooks = RecordingHooks()
        self.numbers = numbers

    def ends(self) -> list[str]:
        return [event.reason for event in self.hooks.events if event.hook == "on_node_cancel"]


@engines
@pytest.mark.parametrize("how", ["break", "close", "error", "dropped"])
def test_a_consumer_that_stops_stops_the_intake_and_its_source(kind, how, opened):
    streamed = Streamed()
    gc.disable()
    try:
        with session(plugins=[streamed.hooks]):
            source = Source(streamed.numbers())
            results = iter_tasks(bodies.double, source, backend=opened[kind], chunk=1, window=4)
            if how == "break":
                for result in results:
                    if result == 10:
                        break
                results.close()  # type: ignore[attr-defined]
            elif how == "error":
                with pytest.raises(ZeroDivisionError):
                    for result in results:
                        1 // (10 - result)
                results.close()  # type: ignore[attr-defined]
            else:
                assert [next(results) for _ in range(6)][-1] == 10
                if how == "close":
                    results.close()  # type: ignore[attr-defined]
            del results
            read = source.read
            assert 6 <= read <= 10
            del source
            bodies.until(lambda: streamed.ends() == ["closed"], patience=5)
            assert map_tasks(bodies.double, [1, 2], backend=opened[kind]) == [2, 4]
    finally:
        gc.enable()
    streamed.hooks.verify()


@engines
def test_a_map_that_is_never_begun_costs_nothing(kind):
    with session(plugins=[hooks := RecordingHooks()]):
        results = iter_tasks(bodies.double, [1], backend=kind)
        before = bodies.threads(), bodies.children()
        del results
        assert (bodies.threads(), bodies.children()) == before
    assert hooks.names() == ["before_session_start", "after_session_end"]


# -- iterables of all sorts ------------------------------------------------------------------------------------------


@engines
@in_any_order
def test_an_iterable_that_raises_ends_the_map_after_what_came_before(kind, ordered, opened):
    def rows() -> Iterator[int]:
        yield from range(25)
        raise LookupError("no more")

    results = iter_tasks(bodies.double, rows(), backend=opened[kind], ordered=ordered)
    got = [next(results) for _ in range(25)]
    assert sorted(got) == list(range(0, 50, 2))
    with pytest.raises(LookupError, match="no more"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@engines
def test_the_errors_of_the_iterable_are_raised_whatever_becomes_of_those_of_items(kind, opened):
    def rows() -> Iterator[int]:
        yield 0
        raise LookupError("no more")

    for errors in ("return", "skip"):
        with pytest.raises(LookupError):
            map_tasks(lambda number: 1 // number, rows(), backend=opened[kind], errors=errors)
    with pytest.raises(ZeroDivisionError):
        map_tasks(lambda number: 1 // number, rows(), backend=opened[kind])


@engines
def test_an_iterable_that_has_ended_is_asked_no_more(kind, opened):
    class Once(Source):
        ended = False

        def __next__(self) -> Any:
            assert not self.ended
            try:
                return super().__next__()
            except StopIteration:
                self.ended = True
                raise

    assert map_tasks(bodies.double, Once(range(5)), backend=opened[kind]) == [0, 2, 4, 6, 8]


@engines
def test_an_item_that_raises_stop_iteration_does_not_end_the_map_as_if_all_were_well(kind, opened):
    def stop(number: int) -> None:
        raise StopIteration(number)

    with pytest.raises(RuntimeError) as caught:
        map_tasks(stop, [5], backend=opened[kind])
    assert isinstance(caught.value.__cause__, StopIteration)
    (error,) = map_tasks(stop, [5], backend=opened[kind], errors="return")
    assert isinstance(error, StopIteration)
    assert error.value == 5


@engines
def test_maps_and_streams_may_be_the_iterables_of_maps(kind, opened):
    @task
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    backend = opened[kind]
    inner = iter_tasks(bodies.double, numbers(50), backend=backend)
    assert map_tasks(bodies.double, inner, backend=backend) == list(range(0, 200, 4))


@engines
def test_an_iterable_may_map_by_itself(kind, opened):
    backend = opened[kind]

    def rows() -> Iterator[int]:
        for number in range(6):
            yield from map_tasks(bodies.double, [number, number], backend=backend)

    assert map_tasks(bodies.double, rows(), backend=backend) == [4 * number for number in range(6) for _ in range(2)]


@engines
def test_an_iterable_may_be_left_by_the_thread_that_began_it(kind, opened):
    results = iter_tasks(bodies.double, range(10), backend=opened[kind])
    got = [next(results)]
    reader = threading.Thread(target=lambda: got.extend(results))
    reader.start()
    reader.join()
    assert got == list(range(0, 20, 2))


def test_what_a_worker_has_not_begun_is_handed_back_when_items_become_slow(opened, tmp_path):
    """Chunks have grown over fast items; the slow ones that follow are done by both workers."""

    @task
    def work(number: int) -> int:
        if number >= 3000:
            bodies.spin(0.05)
        return os.getpid()

    workers = map_tasks(work, range(3030), backend=opened["process"])
    slow = workers[3000:]
    assert len(set(slow)) == 2
    assert min(map(slow.count, set(slow))) >= 5


# -- what else may end a map -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_map_whose_backend_is_closed_says_so(kind, tmp_path):
    with bodies.engine(kind) as backend:
        gate = tmp_path / "gate"

        def close() -> None:
            bodies.wait_for(tmp_path / "begun")
            bodies.until(lambda: len(backend._pool.pending) >= 2 if kind == "thread" else True)
            closer = threading.Thread(target=backend.close)
            closer.start()
            bodies.until(lambda: not backend._pool.pending if kind == "thread" else True)
            gate.touch()
            closer.join()

        @task
        def work(number: int) -> int:
            (tmp_path / "begun").touch()
            bodies.wait_for(gate) if kind == "thread" else bodies.spin()
            return number

        other = threading.Thread(target=close)
        other.start()
        with pytest.raises(BackendError, match=f"backend '{kind}' was closed before the map of task 'work' was done"):
            map_tasks(work, range(8), backend=backend, chunk=1)
        other.join()


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_of_a_session_that_is_left_by_another_thread_ends(kind, tmp_path):
    @task
    def work(number: int) -> int:
        (tmp_path / "begun").touch()
        return number

    ended: list[BaseException] = []

    def read() -> None:
        try:
            for _ in iter_tasks(work, itertools.count(), backend=kind, chunk=1):
                pass
        except BaseException as error:
            ended.append(error)

    with session(plugins=[hooks := RecordingHooks()]):
        reader = threading.Thread(target=contextvars.copy_context().run, args=(read,))
        reader.start()
        bodies.wait_for(tmp_path / "begun")
    reader.join(bodies.PATIENCE)
    assert [type(each) for each in ended] == [SessionError]
    hooks.verify(allow_running=kind == "inline")


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_that_was_left_unread_ends_with_its_session(kind):
    with session(plugins=[hooks := RecordingHooks()]):
        results = iter_tasks(bodies.double, itertools.count(), backend=kind, window=4)
        assert next(results) == 0
    with pytest.raises(SessionError, match="the session was left before the map of task 'double' had been read"):
        next(results)
    hooks.verify()


def test_maps_of_many_threads_share_one_pool():
    """However they meet: all threads begin at once."""
    start = threading.Barrier(6)
    found: list[list[int]] = []

    def read() -> None:
        start.wait()
        found.append(map_tasks(bodies.pid, range(200), chunk=10))

    with session(backend="process") as context:
        readers = [threading.Thread(target=contextvars.copy_context().run, args=(read,)) for _ in range(6)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        workers = len(bodies.children())
        assert isinstance(context, SessionContext)
        assert list(context.engines.opened) == ["process"]
    assert len(found) == 6
    assert len({pid for pids in found for pid in pids}) <= workers


@engines
def test_a_hook_may_map(kind, opened):
    class Mapper:
        def __init__(self) -> None:
            self.got: list[list[int]] = []

        def after_node_execute(self, metadata: Any, result: Any) -> None:
            if metadata.name.startswith("boxed"):
                self.got.append(map_tasks(bodies.double, [1, 2], backend=opened[kind]))

    from eagerly import hook_impl

    Mapper.after_node_execute = hook_impl(Mapper.after_node_execute)  # type: ignore[method-assign]
    with session(plugins=[mapper := Mapper()]):
        assert current_session() is not None
        map_tasks(boxed, range(5), backend=opened[kind])
    assert mapper.got == [[2, 4]] * 5


def test_nothing_is_left_of_fifty_maps():
    def census() -> tuple[list[str], int, list[int]]:
        files = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return sorted(files), threading.active_count(), bodies.children()

    with bodies.engine("process", 1) as process, bodies.engine("thread", 2) as thread:

        def maps() -> None:
            for backend in (process, thread, "inline", "thread"):
                map_tasks(bodies.double, range(5), backend=backend)
                next(iter_tasks(bodies.double, itertools.count(), backend=backend))

        maps()
        gc.collect()
        before = census()
        for _ in range(50):
            maps()
        gc.collect()
        assert census() == before
    with bodies.engine("thread", 1):
        before = census()
    for _ in range(3):
        with session(backend="process"):
            map_tasks(bodies.double, range(5))
    assert census() == before


@task
async def turn(x: int) -> int:
    await asyncio.sleep(0)
    return x


def test_a_map_that_is_closed_early_leaves_no_cancellation_behind() -> None:
    """The loop of a worker may just have ended its item when it is asked to cancel it."""
    for _ in range(60):
        results = iter_tasks(turn, range(1000), backend="thread")
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]  # a generator


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_a_map_that_was_begun_outside_of_a_loop_is_read_within(kind: str) -> None:
    results = iter_tasks(turn, range(100), backend=kind)
    assert next(results) == 0

    async def read() -> None:
        if kind == "inline":
            with pytest.raises(BackendError, match=r"write async for \.\.\. in aiter_tasks"):
                next(results)
        else:
            assert next(results) == 1
        results.close()  # type: ignore[attr-defined]  # a generator

    asyncio.run(read())
    unread = iter_tasks(turn, range(100), backend=kind)

    async def begin() -> None:
        with pytest.raises(BackendError, match=r"write async for result in aiter_tasks\(turn"):
            next(unread)

    asyncio.run(begin())
