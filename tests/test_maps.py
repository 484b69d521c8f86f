"""Maps of every kind of task on every engine: what a task was told holds for each item, wherever it runs."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import DatasetStore, Retry, current_task, iter_tasks, load_dataset, map_tasks, session, task
from eagerly.cache import DiskStore, MemoryStore
from eagerly.errors import BackendError, DatasetKeyError, OptionTypeError, OptionValueError, TaskTimeoutError
from eagerly.testing import RecordingHooks, instant_clock
from mapped import (
    KINDS,
    RETRYING,
    Shop,
    TwoArguments,
    counted,
    counted_async,
    cube,
    named,
    plain_shadowed,
    saved,
    shadowed,
    square,
    three,
    wanted,
)

kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_every_kind_gives_what_a_loop_gives(engine: Any, kind: str) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        found = map_tasks(KINDS[kind], range(12), backend=engine)
    assert found == [wanted(kind, x) for x in range(12)]
    hooks.verify()
    assert sorted(event.metadata.map_index for event in hooks.events if event.hook == "before_node_execute") == [
        *range(12)
    ]
    if "stream" in kind:
        iterations = [event for event in hooks.events if event.hook == "node_iteration"]
        assert len(iterations) == sum(range(12))
        assert all(event.index == event.item for event in iterations)


@kinds
def test_every_kind_retries(engine: Any, kind: str) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks], clock=instant_clock()):
        found = map_tasks(RETRYING[kind], range(5), backend=engine, chunk=5)
    assert found == [wanted(kind, x) for x in range(5)]
    hooks.verify()
    retries = [event for event in hooks.events if event.hook == "before_node_retry"]
    assert sorted((event.metadata.map_index, event.attempt) for event in retries) == [
        (x, attempt) for x in range(5) for attempt in (2, 3)
    ]
    assert [event.succeeded for event in hooks.events if event.hook == "after_node_retry"].count(True) == 5


@kinds
def test_every_kind_fails_after_its_last_attempt(engine: Any, kind: str) -> None:
    hooks = RecordingHooks()
    failing = RETRYING[kind].options(retries=Retry(1, delay=0))
    with session(plugins=[hooks]):
        found = map_tasks(failing, range(3), backend=engine, errors="return")
    assert [type(each).__name__ in ("TwoArguments", "RemoteError") for each in found] == [True] * 3
    assert "early.py, line 2" in str(found[0])
    hooks.verify()
    ends = [event.succeeded for event in hooks.events if event.hook == "after_node_retry"]
    assert ends == [False] * 3


def test_cached_items_are_found_by_the_next_map(engine: Any, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    hooks = RecordingHooks()
    with contextlib.closing(DiskStore(tmp_path / "cache")) as store, session(cache_store=store, plugins=[hooks]):
        assert map_tasks(counted, range(6), itertools.repeat(log), backend=engine) == [x * 10 for x in range(6)]
        assert counted(3, log) == 30
        hooks.clear()
        assert map_tasks(counted, range(8), itertools.repeat(log), backend=engine) == [x * 10 for x in range(8)]
    hits = {event.metadata.map_index: event.value for event in hooks.events if event.hook == "on_cache_hit"}
    assert hits == {x: x * 10 for x in range(6)}
    hooks.verify()
    assert sorted(Path(log).read_text().split()) == [str(x) for x in range(8)]


@pytest.mark.parametrize("make", [counted, counted_async], ids=["sync", "async"])
def test_equal_items_are_computed_once(engine: Any, tmp_path: Path, make: Any) -> None:
    log = str(tmp_path / "log")
    with contextlib.closing(DiskStore(tmp_path / "cache")) as store, session(cache_store=store):
        found = map_tasks(make, [1, 2, 1, 1, 2, 1] * 4, itertools.repeat(log), backend=engine, chunk=1)
    assert found == [10, 20, 10, 10, 20, 10] * 4
    assert sorted(Path(log).read_text().split()) == ["1", "2"]


def test_cache_modes_hold_in_every_worker(engine: Any, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    for mode, runs in (("off", 2), ("on", 1), ("read", 0), ("refresh", 2)):
        Path(log).write_text("")
        with session(cache_store=tmp_path / "cache", cache_mode=mode):
            map_tasks(counted, [1], itertools.repeat(log), backend=engine)
            map_tasks(counted, [1], itertools.repeat(log), backend=engine)
        assert len(Path(log).read_text().split()) == runs, mode


def test_each_item_saves_its_dataset(engine: Any, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    with session(dataset_store=tmp_path, plugins=[hooks]):
        found = map_tasks(saved, range(4), backend=engine)
        assert found == [{"x": x} for x in range(4)]
        assert [load_dataset(f"out/{x}") for x in range(4)] == found
    saves = [event for event in hooks.events if event.hook == "after_dataset_save"]
    assert sorted((event.key, event.metadata.map_index) for event in saves) == [(f"out/{x}", x) for x in range(4)]
    hooks.verify()


def test_items_that_would_be_saved_as_one_are_errors(engine: Any, tmp_path: Path) -> None:
    one_place = saved.options(dataset="out/same")
    with session(dataset_store=tmp_path):
        found = map_tasks(one_place, range(5), backend=engine, errors="return")
    assert sum(type(each) is DatasetKeyError for each in found) == 4
    assert sum(each == {"x": index} for index, each in enumerate(found)) == 1


def test_unless_they_overwrite(engine: Any, tmp_path: Path) -> None:
    one_place = saved.options(dataset="out/same")
    with session(dataset_store=DatasetStore(tmp_path, overwrite=True)):
        assert map_tasks(one_place, range(3), backend=engine) == [{"x": x} for x in range(3)]


def test_names_have_arguments_and_index(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        found = map_tasks(named, ["a", "b", "c"], backend=engine)
        plain = map_tasks(square, [5, 6], backend=engine)
    assert found == ["load_a_as_0", "load_b_as_1", "load_c_as_2"]
    assert plain == [25, 36]
    names = [event.metadata.name for event in hooks.events if event.hook == "after_node_execute"]
    assert sorted(names) == sorted([*found, "square[0]", "square[1]"])


def test_methods_of_all_sorts(engine: Any) -> None:
    shop = Shop(3)
    assert map_tasks(shop.price, [1, 2], backend=engine) == [3, 6]
    assert map_tasks(Shop.price, [shop, Shop(4)], [1, 2], backend=engine) == [3, 8]
    assert map_tasks(Shop.double, [1, 2], backend=engine) == [2, 4]
    assert map_tasks(Shop.triple, [1, 2], backend=engine) == [3, 6]
    assert map_tasks(shop.triple, [1, 2], backend=engine) == [3, 6]
    assert map_tasks(Shop.named, [1, 2], backend=engine) == ["Shop1", "Shop2"]
    assert map_tasks(Shop.renamed, [1, 2], backend=engine) == ["Shop-1", "Shop-2"]
    assert map_tasks(shop.plain, [1, 2], backend=engine) == [4, 5]
    assert map_tasks(shop, [1, 2], backend=engine) == [-2, -1]


def test_callables_of_all_sorts(engine: Any) -> None:
    base = [10]

    def closure(x: int) -> int:
        return x + base[0]

    def local(x: int) -> int:
        return local_helper(x) if x else 0

    def local_helper(x: int) -> int:
        return local(x - 1) + 1

    assert map_tasks(lambda x: -x, [1, 2], backend=engine) == [-1, -2]
    assert map_tasks(closure, [1, 2], backend=engine) == [11, 12]
    assert map_tasks(task(closure), [1, 2], backend=engine) == [11, 12]
    assert map_tasks(task(local), [1, 2], backend=engine) == [1, 2]
    assert map_tasks(cube, [2, 3], backend=engine) == [8, 27]
    assert map_tasks(task(cube), [2, 3], backend=engine) == [8, 27]
    assert map_tasks(functools.partial(square.options(name="other")), [2, 3], backend=engine) == [4, 9]
    assert map_tasks(str.upper, "ab", backend=engine) == ["A", "B"]
    assert map_tasks(len, ["", "a"], backend=engine) == [0, 1]
    assert map_tasks(shadowed, [1], backend=engine) == [1001]
    assert map_tasks(plain_shadowed, [1], backend=engine) == [1001]
    assert map_tasks(square.options(retries=2, tags=["a"]), [3], backend=engine) == [9]


def test_arguments_of_several_iterables(engine: Any) -> None:
    assert map_tasks(three, [1, 2], backend=engine) == [(1, 10, ()), (2, 10, ())]
    assert map_tasks(three, [1, 2], [3, 4], backend=engine) == [(1, 3, ()), (2, 4, ())]
    assert map_tasks(three, [1, 2], itertools.count(3), [5, 6], backend=engine) == [(1, 3, (5,)), (2, 4, (6,))]
    assert map_tasks(three, [(1, 2)], backend=engine) == [((1, 2), 10, ())]
    assert map_tasks(three, iter("ab"), iter([1]), backend=engine) == [("a", 1, ())]


def test_wrong_arguments_are_type_errors_and_not_retried(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        found = map_tasks(square.options(retries=3), [1, 2], [3, 4], backend=engine, errors="return")
    assert [type(each) for each in found] == [TypeError, TypeError]
    assert hooks.names() == ["before_session_start", "after_session_end"]


def test_a_timeout_bounds_each_item(engine: Any) -> None:
    def spin(x: int) -> int:
        call = current_task()
        assert call is not None
        while x == 1 and not call.should_stop():
            pass
        return x

    for name, make in (("sync", spin), ("async", _as_async(spin))):
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            found = map_tasks(task(make, timeout=0.2), range(3), backend=engine, errors="return")
        assert [found[0], found[2]] == [0, 2], name
        assert type(found[1]) is TaskTimeoutError
        hooks.verify()


def _as_async(func: Any) -> Any:
    async def waiting(x: int) -> int:
        import asyncio

        while x == 1:
            await asyncio.sleep(0)
        return x

    return waiting


# Options


async def _numbers_async() -> AsyncIterator[int]:
    yield 1


def nothing() -> Iterator[Any]:
    raise AssertionError("something was taken")
    yield


@pytest.mark.parametrize("map_", [map_tasks, lambda *args, **options: list(iter_tasks(*args, **options))])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"backend": "proces"}, BackendError, "did you mean 'process'"),
        ({"backend": "async"}, BackendError, "gather_tasks"),
        ({"backend": 3}, OptionTypeError, "not 3"),
        ({"backend": MemoryStore}, OptionTypeError, "class"),
        ({"backend": ""}, (BackendError, OptionValueError), ""),
        ({"window": 0}, OptionValueError, "must be 1 or more, not 0"),
        ({"window": "many"}, OptionTypeError, "number of items"),
        ({"window": True}, OptionTypeError, "number of items"),
        ({"chunk": 0}, OptionValueError, "must be 1 or more"),
        ({"chunk": "automatic"}, OptionTypeError, "'auto'"),
        ({"chunk": 2.0}, OptionTypeError, "'auto'"),
        ({"chunk": 5, "window": 3}, OptionValueError, "more items than the window"),
        ({"ordered": 1}, OptionTypeError, "True or False"),
        ({"errors": "ignore"}, OptionValueError, "'raise', 'return', 'skip'"),
        ({"errors": "rais"}, OptionValueError, "did you mean 'raise'"),
        ({"errors": None}, OptionValueError, "one of"),
        ({"on_crash": "again"}, OptionValueError, "'fail', 'retry'"),
        ({"progress": 3}, OptionTypeError, "label"),
        ({"progress": " "}, OptionTypeError, "label"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_taken(
    map_: Any, options: Any, error: Any, said: str
) -> None:
    with pytest.raises(error, match=None if not said else ".*") as caught:
        map_(square, nothing(), **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((square,), OptionTypeError, "takes an iterable for each parameter"),
        ((3, [1]), OptionTypeError, "takes the task first"),
        (([1], square), OptionTypeError, "takes the task first"),
        ((square, 3), OptionTypeError, "itertools.repeat(3)"),
        ((square, [1, 2], [1]), OptionValueError, "have 2, 1 items"),
        ((square, _numbers_async()), OptionTypeError, "async iterable"),
    ],
)
def test_what_cannot_be_mapped_is_refused(arguments: Any, error: Any, said: str) -> None:
    with pytest.raises(error) as caught:
        map_tasks(*arguments)
    assert said in str(caught.value)


async def test_an_async_task_in_a_running_loop_is_refused_with_the_call_that_works() -> None:
    for make in (KINDS["async"], KINDS["async_stream"]):
        with pytest.raises(BackendError, match=r"await gather_tasks\("):
            map_tasks(make, [1])
        with pytest.raises(BackendError, match=r"async for result in aiter_tasks\("):
            iter_tasks(make, [1])
    assert map_tasks(square, [1, 2]) == [1, 4]


def test_stores_that_workers_cannot_reach_are_refused(engine: Any) -> None:
    from eagerly.backends._registry import resolve_backend

    far = not resolve_backend(engine).capabilities.in_process
    refused = pytest.raises(BackendError, match="lives in this process") if far else contextlib.nullcontext()
    with session(cache_store=MemoryStore()):
        with refused:
            assert map_tasks(counted.options(cache_ignore=("log",)), [1], ["/dev/null"], backend=engine) == [10]
        assert map_tasks(square, [1], backend=engine) == [1]
    with session(cache_store=MemoryStore(), cache_mode="off"):
        assert map_tasks(counted, [1], ["/dev/null"], backend=engine) == [10]


def test_chunks_are_one_item_where_there_is_a_timeout() -> None:
    with pytest.raises(OptionValueError, match="on a task with a timeout"):
        map_tasks(square.options(timeout=5), [1, 2], chunk=2, backend="thread")


def test_on_crash_is_refused_where_nothing_can_crash() -> None:
    for backend in ("inline", "thread"):
        with pytest.raises(BackendError, match="'process', 'dask', 'ray'"):
            map_tasks(square, [1], on_crash="retry", backend=backend)


def test_where_the_backend_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def where(x: int) -> str:
        call = current_task()
        assert call is not None
        return call.backend

    assert map_tasks(where, [1]) == ["inline"]
    monkeypatch.setenv("EAGERLY_BACKEND", "thread")
    assert map_tasks(where, [1]) == ["thread"]
    with session(backend="sequential"):
        assert map_tasks(where, [1]) == ["inline"]
        assert map_tasks(where.options(backend="threads"), [1]) == ["thread"]
        assert map_tasks(where.options(backend="threads"), [1], backend="synchronous") == ["inline"]
    with session():
        assert map_tasks(where, [1]) == ["thread"]
        with session(backend=None):
            assert map_tasks(where, [1]) == ["thread"]


def test_errors_of_users_iterables_and_tasks_are_theirs() -> None:
    with pytest.raises(TwoArguments):
        map_tasks(square, _broken())


def _broken() -> Iterator[int]:
    yield 1
    raise TwoArguments("x", 1)
