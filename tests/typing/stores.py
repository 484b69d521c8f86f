"""What type checkers see of caching and datasets. Checked and run by `tests/test_typing.py`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, assert_type

from eagerly import (
    AsyncTask,
    AsyncTaskStream,
    CacheStore,
    Clock,
    DatasetStore,
    Settings,
    SyncTaskStream,
    Task,
    current_task,
    hook_impl,
    load_dataset,
    save_dataset,
    session,
    task,
)
from eagerly.cache import DiskStore, Explanation, MemoryStore
from eagerly.datasets import Dataset
from eagerly.errors import DatasetError, UnkeyableArgument


def hashed(func: Callable[..., Any], inputs: dict[str, Any]) -> str:
    return f"{func.__name__} {sorted(inputs)}"


# Options, and the four kinds


@task(cache=True, cache_ttl=timedelta(days=1), cache_version="1", cache_ignore=["verbose"])
def add(x: int, /, y: int = 0, *, verbose: bool = False) -> str:
    return str(x + y)


@task(cache=Path("somewhere"), cache_ttl=60)
async def fetch(url: str, *, limit: int = 1) -> bytes:
    return url.encode()[:limit]


@task(cache="memory://", dataset="numbers.jsonl", dataset_format="jsonl", dataset_store="memory://data")
def numbers(n: int, /) -> Iterator[int]:
    yield from range(n)


@task(cache=True, cache_store=MemoryStore(), cache_hash=hashed, dataset_store="memory://data", dataset="ticks.jsonl")
async def ticks(n: int, /) -> AsyncIterator[int]:
    for tick in range(n):
        yield tick


assert_type(task(len, cache=True)([1]), int)
assert_type(add.options(cache=False)(1), str)
assert_type(add.options(cache=DiskStore("elsewhere"), cache_ttl=None).cache_store, str | CacheStore | None)
assert_type(numbers.options(cache_store="elsewhere", cache=True), SyncTaskStream[[int], int])
assert_type(ticks.options(cache_ignore=()), AsyncTaskStream[[int], int])


async def one_int(n: int, /) -> str:
    return str(n)


assert_type(task(one_int, cache=True).options(cache_version="2"), AsyncTask[[int], str])


# What a task is asked about its cache takes the arguments of a call, and no others


def keys() -> None:
    assert_type(add.cache_key(1, y=2, verbose=True), str)
    assert_type(fetch.cache_key("url", limit=2), str)
    assert_type(numbers.cache_key(1), str)
    assert_type(ticks.cache_key(1), str)
    assert_type(add.is_cached(1), bool)
    assert_type(fetch.is_cached("url"), bool)
    assert_type(numbers.is_cached(1), bool)
    assert_type(ticks.is_cached(1), bool)
    assert_type(add.invalidate(1), bool)
    assert_type(ticks.invalidate(1), bool)
    assert_type(add.refresh(1), str)
    assert_type(list(numbers.refresh(1)), list[int])
    assert_type(add.explain(1), Explanation)
    assert_type(numbers.explain(1), Explanation)


def facts(cached: Task[[int], object]) -> None:
    assert_type(cached.cache, bool)
    assert_type(cached.cache_store, str | CacheStore | None)
    assert_type(cached.cache_ttl, float | None)
    assert_type(cached.cache_version, str | None)
    assert_type(cached.cache_ignore, frozenset[str])
    assert_type(cached.dataset, str | None)
    assert_type(cached.dataset_store, str | DatasetStore | None)
    assert_type(cached.dataset_format, str | None)
    assert_type(cached.cache_key(1), str)


facts(numbers)


class Shop:
    @task(cache=True, cache_ignore=("self",))
    def price(self, item: str) -> float:
        return len(item) * 1.2

    @task(cache=True)
    @staticmethod
    def parse(text: str) -> int:
        return int(text)


assert_type(Shop().price("tea"), float)
assert_type(Shop().price.cache_key("tea"), str)
assert_type(Shop.parse.is_cached("1"), bool)


# Sessions and settings


def sessions(folder: str) -> None:
    with session(cache_store=folder, cache_mode="read", dataset_store=Path(folder)) as context:
        assert_type(context.cache_store, CacheStore | None)
        assert_type(context.dataset_store, DatasetStore | None)
        assert_type(context.cache_mode, Literal["on", "off", "read", "refresh"])
    with session(cache_store=None, dataset_store=None), session(cache_store=MemoryStore()):
        pass
    with session(dataset_store=DatasetStore(folder, overwrite=True), clock=Clock(time=lambda: 0.0)):
        pass


settings = Settings(cache_store="x", cache_mode="off", cache_signing_key=None, dataset_store="memory://y")
assert_type(settings.cache_store, str)
assert_type(settings.cache_signing_key, str | None)
assert_type(settings.dataset_store, str)


# Datasets by hand


def datasets() -> None:
    saved = save_dataset("x.json", {"a": 1}, format="json", options={"indent": 1})
    assert_type(saved, Dataset)
    assert_type(load_dataset("x.json"), Any)
    assert_type(load_dataset("x.json", dict), dict[Any, Any])
    assert_type(load_dataset("x.json", None, format="json"), Any)


@task(dataset="body.json")
def body() -> int:
    call = current_task()
    assert call is not None
    assert_type(call.cache_store, CacheStore | None)
    assert_type(call.dataset_store, DatasetStore | None)
    return 1


class Listens:
    @hook_impl
    def on_cache_hit(self, key: str, value: object) -> None: ...

    @hook_impl
    def after_dataset_save(self, key: str, path: str) -> None: ...


async def everything() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        session(cache_store=MemoryStore(), dataset_store=folder, plugins=[Listens()]),
    ):
        sessions(folder)
        keys()
        assert_type(add(1, y=2), str)
        assert_type(body(), int)
        assert_type(await fetch.options(cache=MemoryStore()).refresh("url"), bytes)
        assert_type([tick async for tick in ticks.refresh(2)], list[int])
        datasets()
        try:
            save_dataset("y.json", object())
        except DatasetError as error:
            assert_type(error.key, str)
            assert_type(error.result, Any)
        try:
            add.cache_key(1)
        except UnkeyableArgument as error:
            assert_type(error.path, str)
    assert_type(await task(one_int, cache=MemoryStore())(1), str)


asyncio.run(everything())
