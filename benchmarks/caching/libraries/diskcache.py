"""diskcache: ``memoize``, and ``memoize`` with a ``barrier`` and a second look, as its documentation shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.caching.libraries import ROOM, Library

__all__ = ["Diskcache", "DiskcacheBarrier"]


def _identity(value: Any) -> Any:
    return value


class Diskcache(Library):
    title = "diskcache.memoize"
    distribution = "diskcache"
    module = "diskcache"

    def __init__(self, folder: Path) -> None:
        import diskcache

        super().__init__(folder)
        self._library = diskcache
        self._cache = diskcache.Cache(str(folder), size_limit=ROOM)
        self._keyed = self._cache.memoize()(_identity)

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        cached: Callable[..., Any] = self._cache.memoize()(function)
        return cached

    def lock(self) -> Callable[[], Any]:
        lock = self._library.Lock(self._cache, "key")

        def acquire_and_release() -> None:
            lock.acquire()
            lock.release()

        return acquire_and_release

    def key(self, value: Any) -> Any:
        return self._cache.disk.put(self._keyed.__cache_key__(value))

    def key_text(self, value: Any) -> str:
        key, _ = self.key(value)
        return bytes(key).hex()

    def leftovers(self) -> int:
        rows = self._cache._sql("SELECT filename FROM Cache WHERE filename IS NOT NULL").fetchall()
        claimed = {self.folder / name for (name,) in rows}
        return sum(path not in claimed for path in self.folder.rglob("*.val"))


class DiskcacheBarrier(Diskcache):
    title = "diskcache.memoize, barrier"
    leaves_out = frozenset({"keys", "kills", "load", "argument", "key", "lock"})

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        guarded = self._library.barrier(self._cache, self._library.Lock)(super().cached(function))
        cached: Callable[..., Any] = super().cached(guarded)
        return cached
