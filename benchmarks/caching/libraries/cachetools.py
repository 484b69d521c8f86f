"""cachetools: in the memory of one process; with a lock, and with the condition that makes others wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.caching.libraries import Library

__all__ = ["Cachetools", "CachetoolsCondition"]


class Cachetools(Library):
    title = "cachetools"
    distribution = "cachetools"
    module = "cachetools"
    on_disk = False

    def __init__(self, folder: Path) -> None:
        import cachetools

        super().__init__(folder)
        self._library = cachetools

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        cached: Callable[..., Any] = self._library.cached(self._library.LRUCache(10_000), lock=threading.RLock())(
            function
        )
        return cached

    def key(self, value: Any) -> Any:
        key = self._library.keys.hashkey(value)
        hash(key)
        return key


class CachetoolsCondition(Cachetools):
    title = "cachetools, condition"
    leaves_out = frozenset({"keys"})

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        cached: Callable[..., Any] = self._library.cached(
            self._library.LRUCache(10_000), condition=threading.Condition()
        )(function)
        return cached
