"""Datasets whose store lives in this process, of tasks that run in others: the value travels, and is saved here."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from eagerly import Settings, hook_impl, load_dataset, map_tasks, session, task
from eagerly.errors import DatasetError, DatasetKeyError, RunFailed
from eagerly.testing import RecordingHooks
from run_tasks import PATIENCE


@task(dataset="plain/{x}.json")
def plain(x: int) -> dict[str, int]:
    return {"x": x}


@task(dataset="async/{x}.json")
async def plain_async(x: int) -> dict[str, int]:
    return {"x": x}


@task(dataset="stream/{x}.jsonl")
def stream(x: int) -> Iterator[dict[str, int]]:
    yield {"x": x}
    yield {"x": x + 1}


@task(dataset="async_stream/{x}.jsonl")
async def stream_async(x: int) -> AsyncIterator[dict[str, int]]:
    yield {"x": x}
    yield {"x": x + 1}


@task(dataset="same.json")
def same(x: int) -> int:
    return x


@task(dataset="odd/{x}.json")
def odd(x: int) -> Any:
    return {1, 2} if x else x


@task(dataset="own/{x}.json", dataset_store="memory://afar-of-its-own")
def own_store(x: int) -> int:
    return x


KINDS: dict[str, tuple[Any, str, Any]] = {
    "sync": (plain, "plain/1.json", {"x": 1}),
    "async": (plain_async, "async/1.json", {"x": 1}),
    "stream": (stream, "stream/1.jsonl", [{"x": 1}, {"x": 2}]),
    "async stream": (stream_async, "async_stream/1.jsonl", [{"x": 1}, {"x": 2}]),
}
of_each_kind = pytest.mark.parametrize("kind", KINDS)


@of_each_kind
@pytest.mark.parametrize("how", ["map", "submit"])
def test_it_is_there_when_the_call_returns(kind: str, how: str) -> None:
    function, key, value = KINDS[kind]
    hooks = RecordingHooks()
    with session(dataset_store=f"memory://afar-{kind}-{how}", plugins=[hooks]):
        if how == "map":
            assert map_tasks(function, [1], backend="process") == [value]
        else:
            assert function.options(backend="process").submit(1).result(PATIENCE) == value
        found = load_dataset(key)
        assert (list(found) if isinstance(value, list) else found) == value
    told = Counter(event.hook for event in hooks.events)
    assert (told["before_dataset_save"], told["after_dataset_save"]) == (1, 1)
    hooks.verify()


def test_many_items() -> None:
    with session(dataset_store="memory://afar-many"):
        assert map_tasks(plain, range(50), backend="process") == [{"x": x} for x in range(50)]
        assert [load_dataset(f"plain/{x}.json") for x in range(50)] == [{"x": x} for x in range(50)]


def test_a_store_of_the_tasks_own() -> None:
    with session():
        assert map_tasks(own_store, [7, 8], backend="process") == [7, 8]
        assert load_dataset("own/8.json", store="memory://afar-of-its-own") == 8


def test_two_items_that_would_be_one() -> None:
    with session(dataset_store="memory://afar-same"):
        found = map_tasks(same, [1, 2], backend="process", errors="return")
        assert [type(each) for each in found] == [int, DatasetKeyError]
        assert load_dataset("same.json") == 1


def test_what_a_strict_hook_raises_is_no_error_of_the_item() -> None:
    class Strict:
        @hook_impl
        def before_dataset_save(self, key: str) -> None:
            raise ZeroDivisionError(key)

    strict = Settings(strict_hooks=True)
    with (
        session(dataset_store="memory://afar-strict", plugins=[Strict()], settings=strict),
        pytest.raises(ZeroDivisionError, match=r"plain/1\.json"),
    ):
        map_tasks(plain, [1], backend="process", errors="return")


def test_a_result_that_cannot_be_saved_is_an_error_that_has_it() -> None:
    with session(dataset_store="memory://afar-odd"):
        zero, one = map_tasks(odd, [0, 1], backend="process", errors="return")
        assert (zero, type(one).__mro__[1], one.result) == (0, DatasetError, {1, 2})
        with pytest.raises(RunFailed) as caught:
            odd.options(backend="process").submit(1).result(PATIENCE)
        assert isinstance(caught.value.__cause__, DatasetError)
