"""Cached results: what people import who choose a store, teach a class to be part of a key, or write a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eagerly._lazy import lazily as _lazily
from eagerly.cache._protocol import CacheStats, CacheStore, KeyLock, ListsEntries, LocksKeys, StoredEntry

if TYPE_CHECKING:
    from eagerly.cache._disk import DiskStore as DiskStore
    from eagerly.cache._encode import register_key as register_key
    from eagerly.cache._explain import Difference as Difference
    from eagerly.cache._explain import Explanation as Explanation
    from eagerly.cache._memory import MemoryStore as MemoryStore
    from eagerly.cache._open import open_store as open_store
    from eagerly.cache._redis import RedisStore as RedisStore
    from eagerly.cache._remote import RemoteStore as RemoteStore

__all__ = [
    "CacheStats",
    "CacheStore",
    "Difference",
    "DiskStore",
    "Explanation",
    "KeyLock",
    "ListsEntries",
    "LocksKeys",
    "MemoryStore",
    "RedisStore",
    "RemoteStore",
    "StoredEntry",
    "open_store",
    "register_key",
]

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "Difference": "eagerly.cache._explain",
        "DiskStore": "eagerly.cache._disk",
        "Explanation": "eagerly.cache._explain",
        "MemoryStore": "eagerly.cache._memory",
        "RedisStore": "eagerly.cache._redis",
        "RemoteStore": "eagerly.cache._remote",
        "open_store": "eagerly.cache._open",
        "register_key": "eagerly.cache._encode",
    },
)
