"""Calls that use a cache and datasets, of each kind, so that tests about all hooks have all of them to look at.

Helpers only; nothing here asserts anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eagerly import load_dataset, save_dataset, session
from eagerly.cache._protocol import Buffer, CacheStats
from kinds import Kind

__all__ = [
    "DATASET_HOOKS",
    "OF_THE_CACHE",
    "BrokenStore",
    "DictStore",
    "appending",
    "dataset_of",
    "everything_is_stored",
    "save_and_load",
    "stores_in",
    "using",
]

OF_THE_CACHE = ("on_cache_hit", "on_cache_miss", "on_cache_error")
DATASET_HOOKS = ("before_dataset_save", "after_dataset_save", "before_dataset_load", "after_dataset_load")


class DictStore:
    """A store in memory that notes how it is used and fails where it is told to.

    Args:
        fails: Names of methods -> what they raise.
        blocking: As of `CacheStore`.
    """

    trusted = True

    def __init__(self, *, blocking: bool = False, **fails: BaseException) -> None:
        self.blocking = blocking
        self.fails = fails
        self.data: dict[bytes, bytes] = {}
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.fails:
            raise self.fails[what]

    def get(self, key: bytes, /) -> Buffer | None:
        self._ask("get")
        return self.data.get(key)

    def put(self, key: bytes, parts: Sequence[Buffer], /, *, expires: float | None = None, tag: str = "") -> None:
        self._ask("put")
        self.data[key] = b"".join(parts)

    def delete(self, key: bytes, /) -> bool:
        self._ask("delete")
        return self.data.pop(key, None) is not None

    def clear(self) -> int:
        count = len(self.data)
        self.data.clear()
        return count

    def stats(self) -> CacheStats:
        return CacheStats(0, 0, 0, sum(map(len, self.data.values())), len(self.data))

    def close(self) -> None: ...


class BrokenStore(DictStore):
    """A store on a disk that has gone."""

    def __init__(self, *, blocking: bool = False) -> None:
        gone = OSError("the disk has gone")
        super().__init__(blocking=blocking, get=gone, put=gone, delete=gone)


def appending(runs: list[Any], what: object) -> Callable[[], None]:
    """A function that notes each of its runs, for a task whose key is not to depend on them."""

    def append() -> None:
        runs.append(what)

    return append


def stores_in(folder: Path) -> dict[str, Any]:
    """Options of a session whose stores are in `folder`."""
    return {"cache_store": folder / "cache", "dataset_store": folder / "data"}


def dataset_of(kind: Kind) -> str:
    """A key under which a task of this kind can save."""
    return f"{kind.value}.{'jsonl' if kind.is_stream else 'json'}"


def save_and_load() -> int:
    """A body that saves a dataset by hand, loads it, and returns 42."""
    save_dataset("by-hand.json", 42)
    loaded: int = load_dataset("by-hand.json")
    return loaded


def using(kind: Kind, hook: str, folder: Path) -> tuple[Callable[[], Any], dict[str, Any]]:
    """One call of a task in which a hook of the cache or of datasets fires, to be made in a session with the options
    that come with it.
    """
    stores = {**stores_in(folder), "cache_store": DictStore()}
    if hook == "on_cache_error":
        made = kind.make(threading.Lock, name="stored", cache=True, cache_version="1")
    elif hook in OF_THE_CACHE:
        made = kind.make(save_and_load, name="stored", cache=True)
        if hook == "on_cache_hit":
            with session(**stores):
                kind.run(made)
    elif hook.endswith("save"):
        made = kind.make(lambda: 42, name="stored", dataset=dataset_of(kind))
    else:
        made = kind.make(save_and_load, name="stored")
    return lambda: kind.run(made), stores


def everything_is_stored(kind: Kind) -> list[Any]:
    """What the calls returned in which all hooks of the cache and of datasets fire: a miss, a hit, a result that cannot
    be stored. The session that is open needs stores (see `stores_in`) in which nothing is yet.
    """
    made = kind.make(save_and_load, name="stored", cache=True, dataset=dataset_of(kind))
    results = [kind.run(made), kind.run(made)]
    kind.run(kind.make(threading.Lock, name="unstorable", cache=True, cache_version="1"))
    return results
