"""`share`: one object for all items of a map, handed to each worker once."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import pickle
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from eagerly import map_tasks, session, share, task
from eagerly.errors import BackendError
from eagerly.testing import RecordingHooks
from mapped import Odd, about_array, about_value, cube, nth, square

np = pytest.importorskip("numpy")


def far(engine: Any) -> bool:
    """Whether its workers are other processes."""
    from eagerly.backends._registry import resolve_backend

    return not resolve_backend(engine).capabilities.in_process


def test_the_function_gets_the_object_itself(engine: Any) -> None:
    values = list(range(100))
    shared = share(values)
    assert map_tasks(nth, range(10), itertools.repeat(shared), backend=engine) == [*range(10)]
    assert map_tasks(lambda x, values: values[x] + 1, [1, 2], itertools.repeat(shared), backend=engine) == [2, 3]
    assert map_tasks(about_value, [shared], backend=engine) == ["list of 100"]


def test_an_array_is_mapped_and_cannot_be_changed_where_workers_are_others(engine: Any) -> None:
    array = np.arange(300_000, dtype="float64")
    found = map_tasks(about_array, [1, 5, 7], itertools.repeat(share(array)), backend=engine)
    assert [each["value"] for each in found] == [1.0, 5.0, 7.0]
    assert {each["kind"] for each in found} == {"ndarray"}
    assert {each["dtype"] for each in found} == {"float64"}
    if far(engine):
        assert {each["writeable"] for each in found} == {False}
    else:
        assert {each["id"] for each in found} == {id(array)}
    assert array.flags.writeable


def test_several_shared_objects(engine: Any) -> None:
    one, two = share([1, 2, 3]), share({"factor": 10})
    assert map_tasks(
        lambda x, one, two: one[x] * two["factor"],
        range(3),
        itertools.repeat(one),
        itertools.repeat(two),
        backend=engine,
    ) == [10, 20, 30]
    each = [share([x]) for x in range(20)]
    assert map_tasks(lambda value: value[0], each, backend=engine) == [*range(20)]


def test_bound_by_a_partial(engine: Any) -> None:
    values = share([10, 20, 30])
    assert map_tasks(functools.partial(nth, values=values), range(3), backend=engine) == [10, 20, 30]
    assert map_tasks(task(functools.partial(nth, values=values)), range(3), backend=engine) == [10, 20, 30]


@pytest.mark.parametrize(
    "wrap", [lambda x: (1, x), lambda x: {"key": x}, lambda x: [[x]], lambda x: {"a": ({"b": x},)}]
)
def test_within_other_arguments(engine: Any, wrap: Any) -> None:
    found = map_tasks(about_value, [wrap(share([1, 2]))] * 2, backend=engine)
    assert found == [about_value(wrap([1, 2]))] * 2


def test_it_says_that_it_is_not_the_object_itself() -> None:
    values = share([1, 2, 3])
    for use in (lambda: values[0], lambda: len(values), lambda: [*values], lambda: 1 in values, lambda: values()):  # type: ignore[operator]
        with pytest.raises(TypeError, match=r"not the list itself, .* write \.value"):
            use()


def test_containers_that_share_nothing_are_not_copied() -> None:
    argument = [{"a": (1, [2])}]
    kept = share([3])
    (found,) = map_tasks(lambda x: x, [argument])
    assert found is argument
    (found,) = map_tasks(lambda x: x, [(argument, kept)])
    assert found[0] is argument
    assert found[1] == [3]


def test_what_only_cloudpickle_takes(engine: Any) -> None:
    base = 10

    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    function = share(lambda x: x + base)
    assert map_tasks(lambda x, f: f(x), [1, 2], itertools.repeat(function), backend=engine) == [11, 12]
    assert map_tasks(lambda x, it: it.x + x, [1, 2], itertools.repeat(share(Local(3))), backend=engine) == [4, 5]
    assert map_tasks(lambda x, f: f(x), [2], itertools.repeat(share(cube)), backend=engine) == [8]
    assert map_tasks(lambda it: it.number, [share(Odd(4))], backend=engine) == [4]
    assert map_tasks(lambda x, f: f(x), [2], itertools.repeat(share(square)), backend=engine) == [4]


def test_what_cannot_leave_is_an_error_that_says_so(engine: Any) -> None:
    lock = share(threading.Lock())
    found = map_tasks(
        lambda x, lock: type(lock).__name__, [1, 2], itertools.repeat(lock), backend=engine, errors="return"
    )
    if far(engine):
        assert [type(each) for each in found] == [BackendError, BackendError]
        assert "share() was given a lock that cannot leave this process" in str(found[0])
        with pytest.raises(BackendError, match=r"share\(\) was given a lock that cannot leave"):
            map_tasks(functools.partial(about_value, lock), backend=engine, *[[1]])  # noqa: B026
    else:
        assert found == ["lock", "lock"]


def test_a_shared_result_is_an_error_that_says_so(engine: Any) -> None:
    (found,) = map_tasks(lambda x: share([x]), [1], backend=engine, errors="return")
    if far(engine):
        assert type(found) is BackendError
        assert "travels as an argument of map_tasks() and iter_tasks() only" in str(found)


def test_outside_of_a_map_it_cannot_be_pickled() -> None:
    with pytest.raises(BackendError, match=r"pass it in one of the iterables"):
        pickle.dumps(share([1]))


def test_hooks_and_inputs_with_shared_objects(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        map_tasks(nth, range(3), itertools.repeat(share([1, 2, 3])), backend=engine)
    hooks.verify()
    assert sorted(event.result for event in hooks.events if event.hook == "after_node_execute") == [1, 2, 3]
    assert all("x" in event.metadata.inputs for event in hooks.events if event.hook == "after_node_execute")


def left_behind() -> set[str]:
    places = [Path(tempfile.gettempdir()), Path("/dev/shm")]
    return {str(path) for place in places if place.is_dir() for path in place.glob("eagerly-*")}


def files_in(folders: set[str]) -> set[str]:
    return {str(path) for folder in folders for path in Path(folder).rglob("*") if path.is_file()}


def test_files_are_removed_after_the_map(process_backend: Any) -> None:
    before = files_in(left_behind())
    array = share(np.zeros(200_000))
    seen: list[Any] = []

    def items() -> Any:
        for x in range(3):
            seen.append(files_in(left_behind()) - before)
            yield x

    map_tasks(about_array, items(), itertools.repeat(array), backend=process_backend, window=1, chunk=1)
    assert any(seen)
    assert files_in(left_behind()) - before == set()
    with pytest.raises(ZeroDivisionError):
        map_tasks(lambda x, array: 1 / x, [1, 0], itertools.repeat(array), backend=process_backend)
    assert files_in(left_behind()) - before == set()


def test_an_object_is_written_once_and_freed_here(process_backend: Any) -> None:
    """What is shared is pickled once for a map, however many items use it."""
    log: list[int] = []
    counting = Counting(log)
    shared = share(counting)
    assert map_tasks(about_value, itertools.repeat(shared, 50), backend=process_backend) == ["Counting"] * 50
    assert len(log) == 1
    import weakref

    gone = weakref.ref(counting)
    del counting, shared
    gc.collect()
    assert gone() is None


class Counting:
    def __init__(self, log: list[int]) -> None:
        self.log = log

    def __reduce__(self) -> Any:
        self.log.append(os.getpid())
        return Counting, ([],)
