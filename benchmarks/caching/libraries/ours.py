"""eagerly: ``@task(cache=True)`` in a session with a `DiskStore`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.caching.libraries import ROOM, Library
from eagerly import session, task
from eagerly.cache import DiskStore

__all__ = ["Eagerly", "EagerlyWithoutMemory"]


def _identity(value: Any) -> Any:
    return value


class Eagerly(Library):
    title = "eagerly"
    distribution = "eagerly"
    module = "eagerly"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = DiskStore(folder, size_limit=ROOM)

    def around(self) -> AbstractContextManager[Any]:
        return session(cache_store=self.store)

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return task(cache=True)(function)

    def lock(self) -> Callable[[], Any]:
        key = b"k" * 20
        self.store.put(key, [b"value"])
        self.store.try_lock(key)  # the file of locks is made, which changes the directory,
        self.store.get(key)  # and who asks for a lock has looked for a result first

        def lock() -> None:
            held = self.store.try_lock(key)
            assert held is not None
            held.release()

        return lock

    def key(self, value: Any) -> str:
        return _keyed.cache_key(value)

    def leftovers(self) -> int:
        claimed = {entry.key.hex() for entry in self.store.entries()}
        files = [path for path in self.folder.glob("??/*") if path.is_file()]
        return sum(path.suffix != ".value" or f"{path.parent.name}{path.stem}" not in claimed for path in files)


class EagerlyWithoutMemory(Eagerly):
    """Every hit is read from the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = DiskStore(folder, size_limit=ROOM, memory_limit=0)


_keyed = task(cache=True)(_identity)
