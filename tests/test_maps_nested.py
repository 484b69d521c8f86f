"""Maps in items of maps: inline unless told otherwise, and never waiting for one another for ever."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eagerly import current_task, map_tasks, session, task
from eagerly.backends import ExecutorBackend, ProcessBackend, ThreadBackend
from eagerly.errors import BackendError
from eagerly.testing import RecordingHooks
from map_bodies import PATIENCE, until
from mapped import outer_map, own_session


@task
def leaf(x: int) -> int:
    return x + 1


@task
def inner(x: int, backend: Any) -> int:
    return sum(map_tasks(leaf, range(x), backend=backend))


@pytest.mark.parametrize("in_session", [False, True], ids=["outside", "in a session"])
@pytest.mark.parametrize("make", [ThreadBackend, ThreadPoolExecutor])
def test_items_that_map_over_their_own_threads_end(make: Any, in_session: bool) -> None:
    with make(2) as pool, session() if in_session else contextlib.nullcontext():
        found = map_tasks(lambda x: inner(x, pool), range(6), backend=pool, chunk=1)
    assert found == [0, 1, 3, 6, 10, 15]


def test_an_inline_map_in_between_does_not_hide_that_the_thread_is_one_of_the_workers() -> None:
    with ThreadBackend(workers=1) as pool:

        def middle(x: int) -> list[int]:
            return map_tasks(lambda y: inner(x + y, pool), range(2))

        assert map_tasks(middle, range(3), backend=pool) == [[0, 1], [1, 3], [3, 6]]


@pytest.mark.parametrize("make", [ThreadBackend, ThreadPoolExecutor])
@pytest.mark.parametrize("engines", [2, 3])
def test_items_that_map_over_the_threads_of_one_another_end(make: Any, engines: int) -> None:
    """Each engine has one worker, which waits for a map on the next engine, whose worker does the same."""
    together = threading.Barrier(engines)

    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(make(1)) for _ in range(engines)]

        def on(number: int) -> list[int]:
            together.wait(PATIENCE)
            return map_tasks(leaf, [number], backend=pools[(number + 1) % engines])

        found: list[Any] = [None] * engines

        def start(number: int) -> None:
            found[number] = map_tasks(on, [number], backend=pools[number])

        threads = [threading.Thread(target=start, args=(number,), daemon=True) for number in range(engines)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == [[[number + 1]] for number in range(engines)]


def test_an_engine_with_one_worker_runs_no_two_items_at_a_time() -> None:
    """Also while that worker waits for others, which go on, and workers of other engines wait for it."""
    running, most = [0], [0]
    lock = threading.Lock()
    go = threading.Event()

    with ThreadBackend(workers=1) as one, ThreadBackend(workers=1) as other, ThreadBackend(workers=1) as third:

        def exclusive(number: int) -> int:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            if number == 0:
                map_tasks(lambda _: go.wait(PATIENCE), [0], backend=third)
            with lock:
                running[0] -= 1
            return number

        first = threading.Thread(target=map_tasks, args=(exclusive, [0]), kwargs={"backend": one}, daemon=True)
        first.start()
        until(lambda: running[0])
        looks = iter(range(8))
        timer = threading.Thread(target=lambda: (until(lambda: next(looks, None) is None, 10), go.set()), daemon=True)
        timer.start()
        assert map_tasks(lambda _: map_tasks(exclusive, [1], backend=one), [0], backend=other) == [[1]]
        first.join(PATIENCE)
    assert most == [1]


def test_items_in_other_processes_cannot_use_the_workers_that_they_run_on() -> None:
    workers = ProcessBackend(1)
    with session(backend=workers), pytest.raises(BackendError, match=r"ProcessBackend.* leave backend out"):
        map_tasks(outer_map, [1], [workers])
    workers.close()


def test_a_name_that_the_task_was_told_is_not_blamed_on_the_call() -> None:
    with pytest.raises(BackendError, match=r"map_tasks\(\) on backend='nope': there is no backend 'nope'"):
        map_tasks(task(lambda x: x, backend="nope"), [1])


def test_by_name_the_threads_of_the_session_are_meant() -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks], backend="thread"):
        assert map_tasks(lambda x: inner(x, "thread"), range(40), chunk=1) == [x * (x + 1) // 2 for x in range(40)]
    hooks.verify()


def test_a_backend_need_not_be_hashable() -> None:
    backend = NotHashable(2)
    with session():
        map_tasks(leaf, range(3), backend="thread")
        assert map_tasks(leaf, range(3), backend=backend) == [1, 2, 3]
    backend.close()


class NotHashable(ExecutorBackend):
    def __init__(self, workers: int) -> None:
        self.pool = ThreadPoolExecutor(workers)
        super().__init__(self.pool)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotHashable)

    def close(self) -> None:
        super().close()
        self.pool.shutdown()


@task
def family(x: int) -> dict[str, Any]:
    call = current_task()
    assert call is not None
    return {"id": call.id, "parent": call.parent_id, "index": call.map_index, "pid": os.getpid(), "on": call.backend}


@pytest.mark.parametrize("inner_backend", [None, "thread"])
def test_what_happens_in_inner_maps_is_heard_of(engine: Any, inner_backend: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        assert map_tasks(outer_map, [1, 2, 3], [inner_backend] * 3, backend=engine) == [0, 1, 5]
    hooks.verify()
    begun = {event.metadata.id: event.metadata for event in hooks.events if event.hook == "before_node_execute"}
    outer = {each.map_index: each for each in begun.values() if each.name.startswith("outer_map")}
    assert [*sorted(outer)] == [0, 1, 2]
    for index, call in outer.items():
        mine = [each for each in begun.values() if each.parent_id == call.id]
        assert sorted((each.name, each.map_index) for each in mine) == [(f"reported[{x}]", x) for x in range(index + 1)]
        leaves = [each for each in begun.values() if each.parent_id in {each.id for each in mine}]
        assert [each.name for each in leaves] == ["square"] * (index + 1)
    said = Counter(event.metadata.id for event in hooks.events if event.hook == "on_event")
    assert sorted(said.values()) == [3] * 6


def test_a_session_in_an_item_has_hooks_of_its_own_too(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        assert map_tasks(own_session, range(3), backend=engine) == [0, 1, 4]
    hooks.verify()
    assert hooks.names("square") == ["before_node_execute", "after_node_execute"] * 3
