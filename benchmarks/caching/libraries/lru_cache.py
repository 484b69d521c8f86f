"""functools.lru_cache: in the memory of one process, and the caller gets the object that is kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.caching.libraries import Library

__all__ = ["LruCache"]


class LruCache(Library):
    title = "functools.lru_cache"
    distribution = None
    module = "functools"
    on_disk = False

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.lru_cache(maxsize=10_000)(function)

    def key(self, value: Any) -> Any:
        return functools._make_key((value,), {}, typed=False)  # hashes its parts when it is made
