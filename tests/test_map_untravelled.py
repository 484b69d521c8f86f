"""Items whose arguments cannot travel: nothing is handed out for them, and they fail like any other."""

from __future__ import annotations

import threading

import pytest

from eagerly import iter_tasks, map_tasks, session
from eagerly.errors import BackendError


def is_locked(lock: object) -> str:
    return type(lock).__name__


@pytest.mark.parametrize("items", [1, 2, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_of_nothing_that_travels_fails(items: int, ordered: bool) -> None:
    locks = [threading.Lock() for _ in range(items)]
    with session(), pytest.raises(BackendError, match="cannot travel") as caught:
        map_tasks(is_locked, locks, backend="process", ordered=ordered)
    assert any("item 0 of a map" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("chunk", ["auto", 1, 3])
def test_the_last_item_fails_too(chunk: int) -> None:
    results = iter_tasks(is_locked, [1, 2, threading.Lock()], backend="process", chunk=chunk)
    with session(), pytest.raises(BackendError, match="cannot travel"):
        list(results)


def test_the_other_policies_hold() -> None:
    locks = [threading.Lock(), threading.Lock()]
    with session(backend="process"):
        assert map_tasks(is_locked, locks, errors="skip") == []
        assert [type(each) for each in map_tasks(is_locked, locks, errors="return")] == [BackendError, BackendError]
